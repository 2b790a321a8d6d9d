"""Examine the processor, its clocks, the memory, the system, and whether the machine runs on battery."""

from __future__ import annotations

import platform
import re

from ssd_edge.machine import instructions
from ssd_edge.machine.clocks import processor_clock
from ssd_edge.machine.finding import Finding, Remedy
from ssd_edge.machine.host import Host

GIB = 1 << 30
_LITTLE_MEMORY = GIB  # the largest model at work needs this much, with its libraries


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``."""
    findings = [
        Finding(
            "processor",
            ", ".join(dict.fromkeys((name(host), host.architecture))),  # the name may be the architecture itself
            facts={"processor": name(host), "architecture": host.architecture},
        ),
        instructions.finding(host),
        Finding("threads", _threads(host), facts={"threads": host.threads, "load": host.load}),
        *_clocks(host),
        *_memory(host),
        Finding("system", system(host)),
    ]
    return [*findings, *_battery(host)]


def name(host: Host) -> str:
    """Return the name of the board, as on a Jetson, or of the processor."""
    board = host.read("/proc/device-tree/model")
    if board:
        return board
    lines = (host.read("/proc/cpuinfo") or "").splitlines()
    names = (line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("model name"))
    return next(names, platform.processor() or host.architecture)


def system(host: Host) -> str:
    """Return the system's name and its kernel's version."""
    kernel = host.read("/proc/sys/kernel/osrelease")
    pretty = os_release(host).get("PRETTY_NAME", host.system)
    return f"{pretty}, kernel {kernel}" if kernel else pretty


def os_release(host: Host) -> dict[str, str]:
    """Read the values in /etc/os-release."""
    lines = (host.read("/etc/os-release") or "").splitlines()
    return {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines) if value}


def _threads(host: Host) -> str:
    total = len(re.findall(r"^processor\s*:", host.read("/proc/cpuinfo") or "", re.MULTILINE))
    of = f" of {total}" if total > host.threads else ""
    load = "" if host.load is None else f", load {host.load:.2f}"
    return f"{host.threads}{of} for this process{load}"


def _clocks(host: Host) -> list[Finding]:
    clock = processor_clock(host)
    if clock is None:
        return []
    governor = host.read("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor") or "?"
    now, least, most = round(clock.now), round(clock.least), round(clock.most)
    held = "held at" if clock.held else f"{now} of"
    facts = {"mhz": now, "least_mhz": least, "most_mhz": most, "governor": governor}
    return [Finding("CPU clock", f"{held} {most} MHz, governor {governor}", facts=facts)]


def memory_sizes(host: Host) -> dict[str, int]:
    """Return the system's memory by its names, such as ``MemAvailable``, in bytes; nothing where it does not tell."""
    lines = (host.read("/proc/meminfo") or "").splitlines()
    return {key: int(value.split()[0]) << 10 for key, _, value in (line.partition(":") for line in lines) if value}


def _memory(host: Host) -> list[Finding]:
    sizes = memory_sizes(host)
    if not {"MemTotal", "MemAvailable"} <= sizes.keys():
        return []
    total, free, swap = sizes["MemTotal"], sizes["MemAvailable"], sizes.get("SwapTotal", 0)
    value = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free" + (f", swap {swap / GIB:.1f} GiB" if swap else "")
    facts = {"total": total, "free": free, "swap": swap}
    if free < _LITTLE_MEMORY:
        remedy = Remedy("end other programs: a model and its libraries need 1 GiB")
        return [Finding("memory", value, "problem", remedy, facts)]
    return [Finding("memory", value, facts=facts)]


def _battery(host: Host) -> list[Finding]:
    folder = "/sys/class/power_supply"
    mains = [
        host.number(f"{folder}/{supply}/online")
        for supply in host.names(folder)
        if host.read(f"{folder}/{supply}/type") == "Mains"
    ]
    if not mains or any(mains):
        return []
    return [Finding("power", "on battery", "note", Remedy("plug it in: processors are slower on battery"))]
