"""The instructions that decide how a processor computes INT8, bf16 and fp16.

OpenVINO's kernels for x86 add pairs of products of 8 bits in 16 bits where there is no VNNI or AMX. A pair of large
products saturates there: silently, and only on such processors.
"""

from __future__ import annotations

import re

from ssd_edge.machine.finding import Finding, Remedy
from ssd_edge.machine.host import Host

_INT8 = {
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "amx_int8": "AMX-INT8",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
}
_NARROW_FLOATS = {
    "avx512_bf16": ("BF16", "AVX512-BF16"),
    "amx_bf16": ("BF16", "AMX-BF16"),
    "asimdhp": ("FP16", "fp16"),
}
"""Flags of /proc/cpuinfo, and what they are called."""

_CAP = "ONEDNN_MAX_CPU_ISA"
_ALLOWED = {
    "SSE41": (),
    "AVX": (),
    "AVX2": (),
    "AVX2_VNNI": ("avx_vnni",),
    "AVX2_VNNI_2": ("avx_vnni",),
    "AVX512_CORE": (),
    "AVX512_CORE_VNNI": ("avx_vnni", "avx512_vnni"),
    "AVX512_CORE_BF16": ("avx_vnni", "avx512_vnni", "avx512_bf16"),
    "AVX512_CORE_FP16": ("avx_vnni", "avx512_vnni", "avx512_bf16"),
    "AVX10_1_512": ("avx_vnni", "avx512_vnni", "avx512_bf16"),
}
"""What that variable, which OpenVINO's kernels obey, leaves of these: oneDNN, "CPU Dispatcher Control". Others, all."""


def flags(host: Host) -> frozenset[str]:
    """Those of these instructions that OpenVINO can use here, by the names of /proc/cpuinfo; none without that file."""
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", host.read("/proc/cpuinfo") or "", re.MULTILINE)
    there = frozenset(lines[0].split() if lines else ()) & (_INT8.keys() | _NARROW_FLOATS.keys())
    if is_x86(host):
        allowed = _ALLOWED.get(host.environment.get(_CAP, "").upper())
        there = there if allowed is None else there & frozenset(allowed)
    return there


def is_x86(host: Host) -> bool:
    """Whether the processor is of Intel's and AMD's family."""
    return host.architecture.lower() in {"x86_64", "amd64", "i386", "i686"}


def int8(host: Host) -> tuple[str, ...]:
    """Its INT8 instructions by the names that people know."""
    there = flags(host)
    return tuple(name for flag, name in _INT8.items() if flag in there)


def saturates(host: Host) -> bool:
    """Whether INT8 with weights of 8 bits may saturate: on x86 without VNNI and AMX."""
    return is_x86(host) and not int8(host)


def narrow_floats(host: Host) -> dict[str, str]:
    """``BF16`` and ``FP16``, where the processor computes in them, and by which instructions."""
    there = flags(host)
    return {precision: name for flag, (precision, name) in _NARROW_FLOATS.items() if flag in there}


def kind(host: Host) -> str:
    """The processor as far as INT8 is concerned: two of one kind compute the same."""
    return f"{host.architecture}, {' and '.join(int8(host)) or 'no INT8 instructions'}"


def finding(host: Host) -> Finding:
    """What the processor has, and what follows for INT8 engines."""
    facts = {"int8": list(int8(host)), "narrow_floats": narrow_floats(host), "saturates": saturates(host)}
    floats = "".join(f"; {precision} by {name}" for precision, name in narrow_floats(host).items())
    if saturates(host):
        cap = f" that {_CAP}={host.environment[_CAP]} leaves" if host.environment.get(_CAP) else ""
        remedy = Remedy("INT8 engines that are built here get weights of 7 bits, so that nothing saturates")
        return Finding("INT8", f"no VNNI or AMX{cap}{floats}", "fine", remedy, facts)
    known = " and ".join(int8(host)) or "nothing known of INT8 instructions"
    return Finding("INT8", f"{known}{floats}", facts=facts)
