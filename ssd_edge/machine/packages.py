"""Python, and the packages that ssd-edge and its extras ask for."""

from __future__ import annotations

import re

from ssd_edge.machine.finding import Finding, Remedy
from ssd_edge.machine.host import Host

_FOR_PEOPLE = ("train", "calibrate", "rtx", "tensorrt", "cuda")
"""Extras; the others are for work on ssd-edge itself."""


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``."""
    version = host.version("ssd-edge")
    python = Finding("Python", f"{host.python} in {host.prefix}", facts={"version": host.python})
    if version is None:
        remedy = Remedy("in its folder", "pip install -e .")
        return [python, Finding("ssd-edge", "not installed as a package", "note", remedy)]
    wanted = _requirements(host)
    base = {package: host.version(package) for package in wanted.pop("", [])}
    extras = [_extra(host, name, wanted[name]) for name in _FOR_PEOPLE if name in wanted]
    listed = ", ".join(f"{package} {found}" for package, found in base.items() if found)
    facts = {"version": version, "packages": base}
    # A system's OpenCV, or a build of ONNX Runtime, comes under another name; PyAV and OpenCV are tried elsewhere.
    return [python, Finding("ssd-edge", f"{version}; {listed}", facts=facts), *extras]


def _requirements(host: Host) -> dict[str, list[str]]:
    """Names of the packages of each extra; "" are those of all."""
    wanted: dict[str, list[str]] = {}
    for line in host.requirements():  # onnx>=1.17; extra == "train"
        package = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra *== *['\"]([\w-]+)", line)
        if package:
            wanted.setdefault(extra[1] if extra else "", []).append(package[0])
    return wanted


def _extra(host: Host, name: str, packages: list[str]) -> Finding:
    versions = {package: host.version(package) for package in packages}
    missing = [package for package, version in versions.items() if version is None]
    facts = {"packages": versions}
    if not missing:
        listed = ", ".join(f"{package} {version}" for package, version in versions.items())
        return Finding(f"[{name}]", listed, facts=facts)
    return Finding(f"[{name}]", f"without {', '.join(missing)}: pip install 'ssd-edge[{name}]'", facts=facts)
