"""List Python's version, and those of the packages that ssd-edge and its extras require."""

from __future__ import annotations

from packaging.requirements import Requirement

from ssd_edge.machine import jetson
from ssd_edge.machine.finding import Finding, Remedy
from ssd_edge.machine.host import Host

_FOR_PEOPLE = ("train", "calibrate", "rtx", "tensorrt", "cuda")
"""Extras for users; the others are for developing ssd-edge itself."""
_FOR_GPUS = ("rtx", "tensorrt", "cuda")


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``."""
    version = host.version("ssd-edge")
    python = Finding("Python", f"{host.python} in {host.prefix}", facts={"version": host.python})
    if version is None:
        remedy = Remedy("in its folder", "pip install -e .")
        return [python, Finding("ssd-edge", "not installed as a package", "note", remedy)]
    wanted = _requirements(host)
    if jetson.release(host) is not None:  # JetPack has what these extras install, in the releases of its driver
        wanted = {name: packages for name, packages in wanted.items() if name not in _FOR_GPUS}
    base = {package: host.version(package) for package in wanted.pop("", [])}
    extras = [_extra(host, name, wanted[name]) for name in _FOR_PEOPLE if name in wanted]
    listed = ", ".join(f"{package} {base_version}" for package, base_version in base.items() if base_version)
    facts = {"version": version, "packages": base}
    # A missing base package is not reported: a system's OpenCV or another build of ONNX Runtime has another name, and
    # other probes try PyAV and OpenCV.
    return [python, Finding("ssd-edge", f"{version}; {listed}", facts=facts), *extras]


def _requirements(host: Host) -> dict[str, list[str]]:
    """List the packages that each extra requires on this machine; "" stands for those always required."""
    machine = {
        "platform_machine": host.architecture,
        "platform_system": host.system,
        "python_version": ".".join(host.python.split(".")[:2]),
        "python_full_version": host.python,
    }
    wanted: dict[str, list[str]] = {}
    for line in host.requirements():  # tensorrt-rtx-cu12>=1.7; platform_machine != "aarch64" and extra == "rtx"
        requirement = Requirement(line)
        for extra in ("", *_FOR_PEOPLE):
            if requirement.marker is None or requirement.marker.evaluate({**machine, "extra": extra}):
                wanted.setdefault(extra, []).append(requirement.name)
                break
    return wanted


def _extra(host: Host, name: str, packages: list[str]) -> Finding:
    versions = {package: host.version(package) for package in packages}
    missing = [package for package, version in versions.items() if version is None]
    facts = {"packages": versions}
    if not missing:
        listed = ", ".join(f"{package} {version}" for package, version in versions.items())
        return Finding(f"[{name}]", listed, facts=facts)
    return Finding(f"[{name}]", f"without {', '.join(missing)}: pip install 'ssd-edge[{name}]'", facts=facts)
