"""A processor's INT8 instructions and their consequences; the flags are those of real files /proc/cpuinfo."""

from __future__ import annotations

import pytest

from ssd_edge.machine import instructions
from ssd_edge.machine.summary import summary
from tests.machine.machines import machine

ZEN3 = "fma sse4_1 sse4_2 avx avx2 bmi2 sha_ni"
ZEN4 = f"{ZEN3} avx512f avx512vl avx512_bf16 avx512_vnni"
SAPPHIRE_RAPIDS = f"{ZEN4} avx_vnni amx_bf16 amx_tile amx_int8"
ALDER_LAKE = f"{ZEN3} avx_vnni"
ORIN = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp uscat ilrcpc"
GRAVITON3 = f"{ORIN} sve asimdfhm svei8mm i8mm bf16"
PI4 = "fp asimd evtstrm crc32 cpuid"


def host(root, flags, architecture="x86_64", **environment):
    word = "flags" if architecture == "x86_64" else "Features"
    text = f"processor\t: 0\n{word}\t\t: {flags}\n\nprocessor\t: 1\n{word}\t\t: {flags}\n"
    return machine(root, {"/proc/cpuinfo": text}, architecture=architecture, environment=environment)


@pytest.mark.parametrize(
    ("flags", "architecture", "int8", "floats", "saturates"),
    [
        (ZEN3, "x86_64", (), {}, True),
        (ZEN4, "x86_64", ("AVX512-VNNI",), {"BF16": "AVX512-BF16"}, False),
        (SAPPHIRE_RAPIDS, "x86_64", ("AVX512-VNNI", "AVX-VNNI", "AMX-INT8"), {"BF16": "AMX-BF16"}, False),
        (ALDER_LAKE, "x86_64", ("AVX-VNNI",), {}, False),
        (ORIN, "aarch64", ("dotprod",), {"FP16": "fp16"}, False),
        (GRAVITON3, "aarch64", ("dotprod", "i8mm"), {"FP16": "fp16"}, False),
        (PI4, "aarch64", (), {}, False),
    ],
)
def test_instructions_of_processors(tmp_path, flags, architecture, int8, floats, saturates):
    here = host(tmp_path, flags, architecture)
    assert instructions.int8(here) == int8
    assert instructions.narrow_floats(here) == floats
    assert instructions.saturates(here) is saturates
    assert instructions.kind(here) == f"{architecture}, {' and '.join(int8) or 'no INT8 instructions'}"
    finding = instructions.finding(here)
    assert finding.facts["saturates"] is saturates
    assert ("7 bits" in str(finding.remedy)) is saturates


@pytest.mark.parametrize(
    ("cap", "int8", "floats"),
    [
        ("AVX2", (), {}),
        ("avx2", (), {}),
        ("SSE41", (), {}),
        ("AVX512_CORE", (), {}),
        ("AVX2_VNNI", ("AVX-VNNI",), {}),
        ("AVX512_CORE_VNNI", ("AVX512-VNNI", "AVX-VNNI"), {}),
        ("AVX512_CORE_BF16", ("AVX512-VNNI", "AVX-VNNI"), {"BF16": "AVX512-BF16"}),
        ("AVX512_CORE_AMX", ("AVX512-VNNI", "AVX-VNNI", "AMX-INT8"), {"BF16": "AMX-BF16"}),
        ("DEFAULT", ("AVX512-VNNI", "AVX-VNNI", "AMX-INT8"), {"BF16": "AMX-BF16"}),
        ("", ("AVX512-VNNI", "AVX-VNNI", "AMX-INT8"), {"BF16": "AMX-BF16"}),
    ],
)
def test_instructions_that_the_environment_allows(tmp_path, cap, int8, floats):
    here = host(tmp_path, SAPPHIRE_RAPIDS, ONEDNN_MAX_CPU_ISA=cap)
    assert instructions.int8(here) == int8
    assert instructions.narrow_floats(here) == floats
    assert instructions.saturates(here) is (not int8)


def test_the_cap_is_for_x86(tmp_path):
    assert instructions.int8(host(tmp_path, ORIN, "aarch64", ONEDNN_MAX_CPU_ISA="AVX2")) == ("dotprod",)


def test_the_reason_for_missing_instructions_is_given(tmp_path):
    assert (
        "ONEDNN_MAX_CPU_ISA=AVX2 leaves" in instructions.finding(host(tmp_path, ZEN4, ONEDNN_MAX_CPU_ISA="AVX2")).value
    )


@pytest.mark.parametrize(("architecture", "saturates"), [("AMD64", True), ("x86_64", True), ("arm64", False)])
def test_without_cpuinfo_the_worst_is_assumed(tmp_path, architecture, saturates):
    here = machine(tmp_path, architecture=architecture)
    assert instructions.int8(here) == ()
    assert instructions.saturates(here) is saturates


def test_a_summary_includes_the_instructions(tmp_path):
    assert summary(host(tmp_path, ZEN4))["instructions"] == "x86_64, AVX512-VNNI"
