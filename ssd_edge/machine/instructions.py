"""Find the instructions that decide how a processor computes INT8, bf16 and fp16.

Without VNNI or AMX, OpenVINO's kernels for x86 add pairs of 8-bit products in 16 bits. A pair of large products then
saturates: silently, and only on such processors.
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
"""Flags of /proc/cpuinfo with their usual names."""

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
"""By value of that variable, which OpenVINO's kernels obey, the flags that stay in use; other values allow all flags.

Source: oneDNN, "CPU Dispatcher Control".
"""


def flags(host: Host) -> frozenset[str]:
    """Return which of these flags OpenVINO can use here, by their names in /proc/cpuinfo; none without that file."""
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", host.read("/proc/cpuinfo") or "", re.MULTILINE)
    usable = frozenset(lines[0].split() if lines else ()) & (_INT8.keys() | _NARROW_FLOATS.keys())
    if is_x86(host):
        allowed = _ALLOWED.get(host.environment.get(_CAP, "").upper())
        usable = usable if allowed is None else usable & frozenset(allowed)
    return usable


def is_x86(host: Host) -> bool:
    """Tell whether the processor belongs to Intel's and AMD's x86 family."""
    return host.architecture.lower() in {"x86_64", "amd64", "i386", "i686"}


def int8(host: Host) -> tuple[str, ...]:
    """Return the usual names of the processor's INT8 instructions."""
    usable = flags(host)
    return tuple(name for flag, name in _INT8.items() if flag in usable)


def saturates(host: Host) -> bool:
    """Tell whether INT8 with 8-bit weights may saturate, as on x86 without VNNI and AMX."""
    return is_x86(host) and not int8(host)


def narrow_floats(host: Host) -> dict[str, str]:
    """Map ``BF16`` and ``FP16``, if the processor computes in them, to the names of their instructions."""
    usable = flags(host)
    return {precision: name for flag, (precision, name) in _NARROW_FLOATS.items() if flag in usable}


def kind(host: Host) -> str:
    """Describe how the processor computes INT8: processors of one kind give the same results."""
    return f"{host.architecture}, {' and '.join(int8(host)) or 'no INT8 instructions'}"


def finding(host: Host) -> Finding:
    """Report the processor's instructions, and their consequence for INT8 engines."""
    facts = {"int8": list(int8(host)), "narrow_floats": narrow_floats(host), "saturates": saturates(host)}
    floats = "".join(f"; {precision} by {name}" for precision, name in narrow_floats(host).items())
    if saturates(host):
        cap = f" that {_CAP}={host.environment[_CAP]} leaves" if host.environment.get(_CAP) else ""
        remedy = Remedy("INT8 engines that are built here get weights of 7 bits, so that nothing saturates")
        return Finding("INT8", f"no VNNI or AMX{cap}{floats}", "fine", remedy, facts)
    known = " and ".join(int8(host)) or "no known INT8 instructions"
    return Finding("INT8", f"{known}{floats}", facts=facts)
