"""Summarise the machine in a few values, to be recorded with measurements made on it."""

from __future__ import annotations

import platform
from typing import Any

from ssd_edge.machine import instructions
from ssd_edge.machine.host import Host, this_host
from ssd_edge.machine.processor import name

_PACKAGES = ("ssd-edge", "numpy", "opencv-python", "openvino", "onnxruntime")


def summary(host: Host | None = None) -> dict[str, Any]:
    """Collect what a measurement depends on besides the engine: processor, threads, load, system, versions."""
    host = host or this_host()
    versions = {package: host.version(package) for package in _PACKAGES}
    return {
        "processor": name(host),
        "instructions": instructions.kind(host),
        "threads": host.threads,
        "load": host.load,
        "system": platform.platform(),
        "python": host.python,
        "versions": {package: version for package, version in versions.items() if version is not None},
    }
