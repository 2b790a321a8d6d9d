"""Examine what only a Jetson has: Jetson Linux (L4T), JetPack, the power mode, the GPU's clock."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ssd_edge.machine.clocks import jetson_gpu_clock
from ssd_edge.machine.finding import Finding, Remedy
from ssd_edge.machine.host import Host, NotInstalledError, UnansweredError

# https://developer.nvidia.com/embedded/jetpack-archive
_JETPACKS = {
    (39, 2, 1): "7.2.1",
    (39, 2, 0): "7.2",
    (38, 4, 0): "7.1",
    (38, 2): "7.0",
    (36, 5, 0): "6.2.2",
    (36, 4, 7): "6.2.1",
    (36, 4, 4): "6.2.1",
    (36, 4, 3): "6.2",
    (36, 4, 0): "6.1",
    (36, 3): "6.0",
    (35,): "5",
    (32,): "4",
}
"""JetPack versions by the L4T release, or by its first numbers."""

INSTALL = "sudo apt update && sudo apt install nvidia-jetpack"
"""The command that installs CUDA and TensorRT."""

OLDEST_L4T = (36, 4)
"""Jetson Linux of JetPack 6.1, the first whose TensorRT will do."""

_LIBRARIES = ("/usr/lib/aarch64-linux-gnu/nvidia", "/usr/lib/aarch64-linux-gnu/tegra", "/usr/lib/aarch64-linux-gnu")


@dataclass(frozen=True)
class PowerMode:
    """A mode of nvpmodel.

    Attributes:
        number: the number for ``nvpmodel -m``.
        name: the mode's name, such as ``MODE_30W``.
    """

    number: int
    name: str


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``; nothing on other machines."""
    l4t = release(host)
    return [] if l4t is None else [_jetpack(host, l4t), *_missing_parts(host)]


def probe_power(host: Host) -> list[Finding]:
    """See ``examine.PROBES``; nothing on other machines."""
    return [] if release(host) is None else [_power(host), *_gpu_clock(host)]


def release(host: Host) -> tuple[int, ...] | None:
    """Return the L4T release, such as (36, 4, 3); None if the machine is not a Jetson."""
    # "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: …"
    match = re.match(r"# R(\d+) \(release\), REVISION: (\d+)\.(\d+)", host.read("/etc/nv_tegra_release") or "")
    return tuple(map(int, match.groups())) if match else None


def missing_dla_compiler(host: Host) -> tuple[str, Remedy] | None:
    """Explain that TensorRT cannot be imported because the DLA's compiler is missing; None if that is not so.

    JetPack's TensorRT on an Orin links with it; on a Thor, which has no DLA, it does not. In a container the file may
    be there and empty: NVIDIA's runtime mounts the host's file over it, if the host has one.
    """
    compatible = host.read("/proc/device-tree/compatible") or ""
    if release(host) is None or "tegra264" in compatible or any(map(host.has_content, _dla_compilers())):
        return None
    reason = "libnvdla_compiler.so, which JetPack's TensorRT loads, is missing"
    remedy = Remedy("on the Jetson itself, also for its containers", "sudo apt install nvidia-l4t-dla-compiler")
    return reason, remedy


def _dla_compilers() -> list[str]:
    return [f"{folder}/libnvdla_compiler.so" for folder in _LIBRARIES]


def _missing_parts(host: Host) -> list[Finding]:
    """Find what containers often lack, and without which TensorRT or the video hardware does nothing."""
    findings = []
    missing = missing_dla_compiler(host)
    if missing is not None and system_packages(host):
        findings.append(Finding("DLA compiler", missing[0], "problem", missing[1]))
    try:
        host.run(("lsmod",))
    except NotInstalledError:
        reason = "not installed: NVIDIA's video libraries call it, and nvv4l2decoder gives no frame without it"
        findings.append(Finding("lsmod", reason, "problem", Remedy(command="sudo apt install kmod")))
    except UnansweredError as error:
        findings.append(Finding("lsmod", str(error), "unknown"))
    return findings


def system_packages(host: Host) -> dict[str, str]:
    """Return versions by name of the relevant Debian packages from NVIDIA; none without dpkg."""
    wanted = ("nvidia-jetpack", "libnvinfer[0-9]*", "python3-libnvinfer", "libnvinfer-bin", "tensorrt")
    try:
        ran = host.run(("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n", *wanted))
    except UnansweredError:
        return {}
    rows = (line.split() for line in ran.out.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == "installed"}


def _jetpack(host: Host, l4t: tuple[int, ...]) -> Finding:
    text = ".".join(map(str, l4t))
    installed = system_packages(host).get("nvidia-jetpack")
    version = re.split(r"[+-]", installed)[0] if installed else None
    facts = {"l4t": text, "jetpack": version or _by_release(l4t), "components": installed is not None}
    if version:
        return Finding("JetPack", f"{version}, Jetson Linux {text}", facts=facts)
    value = f"Jetson Linux {text} of JetPack {_by_release(l4t) or 'unknown'}, whose libraries are not installed"
    # In a container they belong to the image, where dpkg does not have the package nvidia-jetpack.
    return Finding("JetPack", value, "note", Remedy("CUDA and TensorRT come with them", INSTALL), facts)


def _by_release(l4t: tuple[int, ...]) -> str | None:
    return next((_JETPACKS[l4t[:count]] for count in (3, 2, 1) if l4t[:count] in _JETPACKS), None)


def _power(host: Host) -> Finding:
    modes, mode = _modes(host), power_mode(host)
    if mode is None:
        remedy = Remedy("ask it as root", "sudo nvpmodel -q")
        return Finding("power mode", "nvpmodel does not report it", "unknown", remedy)
    facts = {"number": mode.number, "mode": mode.name, "modes": {one.name: one.number for one in modes}}
    best = next((one for one in reversed(modes) if one.name.startswith("MAXN")), None)
    if best is None or mode.name.startswith("MAXN"):
        return Finding("power mode", f"{mode.name} ({mode.number})", facts=facts)
    others = ", ".join(f"{one.name} ({one.number})" for one in modes if one != mode)
    remedy = Remedy(f"{best.name} is faster, and hotter", f"sudo nvpmodel -m {best.number}")
    return Finding("power mode", f"{mode.name} ({mode.number}); there are {others}", "note", remedy, facts)


def power_mode(host: Host) -> PowerMode | None:
    """Ask for the power mode; None if neither nvpmodel nor its file tells."""
    return _mode_from_command(host) or mode_from_status_file(host)


def _mode_from_command(host: Host) -> PowerMode | None:
    """Ask nvpmodel, which answers in two lines: "NV Power Mode: MODE_30W", "2"."""
    try:
        out = host.run(("nvpmodel", "-q")).out
    except UnansweredError:
        return None
    match = re.search(r"NV Power Mode: *(\S+)\s+(\d+)\s*$", out)
    return PowerMode(int(match[2]), match[1]) if match else None


def mode_from_status_file(host: Host) -> PowerMode | None:
    """Read the mode that nvpmodel stores for the next start, "pmode:0002"; its name comes from the configuration."""
    match = re.search(r"pmode:(\d+)", host.read("/var/lib/nvpmodel/status") or "")
    return next((mode for mode in _modes(host) if match and mode.number == int(match[1])), None)


def _modes(host: Host) -> list[PowerMode]:
    # < POWER_MODEL ID=0 NAME=MAXN >
    lines = re.findall(r"^< *POWER_MODEL ID=(\d+) NAME=(\S+)", host.read("/etc/nvpmodel.conf") or "", re.MULTILINE)
    return [PowerMode(int(number), name) for number, name in lines]


def _gpu_clock(host: Host) -> list[Finding]:
    clock = jetson_gpu_clock(host)
    if clock is None:
        return []
    now, least, most = round(clock.now), round(clock.least), round(clock.most)
    facts = {"mhz": now, "least_mhz": least, "most_mhz": most, "held": clock.held}
    value = f"held at {most} MHz" if clock.held else f"{now} of {most} MHz, as the load asks"
    fix = "" if clock.held else "; to hold it for measuring: sudo jetson_clocks"
    return [Finding("GPU clock", value + fix, facts=facts)]
