"""Find NVIDIA's libraries: the CUDA toolkit, TensorRT, TensorRT-RTX, and packages that call CUDA from Python."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from ssd_edge.machine.finding import Finding
from ssd_edge.machine.host import Host, this_host
from ssd_edge.machine.jetson import system_packages

TENSORRT = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
TENSORRT_RTX = ("tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "tensorrt-rtx")
LAUNCHERS = ("cuda-bindings", "pycuda")
"""Names of packages; of each tuple, the first one that is installed counts."""

_COMPILERS = {12: "nvidia-cuda-nvrtc-cu12"}
_COMPILER = "nvidia-cuda-nvrtc"
"""NVRTC's package by major release; from 13 on it has no number."""


def probe(host: Host) -> list[Finding]:
    """See ``examine.PROBES``."""
    return [
        _finding("CUDA toolkit", toolkit(host), "not installed; running needs none"),
        _nvrtc(host),
        _tensorrt(host),
        _finding("TensorRT-RTX", first_version(host, TENSORRT_RTX), "not installed"),
        _launchers(host),
    ]


def tensorrt_rtx_package(architecture: str) -> str:
    """Return the TensorRT-RTX package with libraries for a processor, the same that ``ssd-edge[rtx]`` requires."""
    return "tensorrt-rtx-cu13" if architecture == "aarch64" else "tensorrt-rtx-cu12"


def first_version(host: Host, packages: Sequence[str]) -> str | None:
    """Return the version of the first of these packages that is installed."""
    return next((version for package in packages if (version := host.version(package))), None)


def installed(packages: Sequence[str]) -> str | None:
    """Return the same for this machine, without importing any of the packages."""
    return first_version(this_host(), packages)


def toolkit(host: Host) -> str | None:
    """Return the version of the CUDA toolkit in /usr/local/cuda."""
    try:
        return str(json.loads(host.read("/usr/local/cuda/version.json") or "")["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return None


def compiler(host: Host) -> tuple[int, int] | None:
    """Return the release of the NVRTC that ``cuda-bindings`` loads: the package of its major release, or the toolkit's.

    None if there is none, or no ``cuda-bindings`` to load it.
    """
    bindings = host.version("cuda-bindings")
    if bindings is None:
        return None
    major = int(bindings.partition(".")[0])
    version = host.version(_COMPILERS.get(major, _COMPILER))
    if version is None and host.names("/usr/local/cuda/lib64", f"libnvrtc.so.{major}*"):
        version = toolkit(host)
    numbers = tuple(map(int, re.findall(r"\d+", version or "")[:2]))
    return (numbers[0], numbers[1]) if len(numbers) == 2 and numbers[0] == major else None


def system_tensorrt(host: Host) -> str | None:
    """Return the version of TensorRT from the system's packages, such as JetPack's: 10.3.0 for 10.3.0.30-1+cuda12.5."""
    texts = [version for name, version in system_packages(host).items() if re.fullmatch(r"libnvinfer\d+", name)]
    versions = sorted(tuple(map(int, re.findall(r"\d+", version)[:3])) for version in texts)
    return ".".join(map(str, versions[-1])) if versions else None


def _finding(name: str, version: str | None, otherwise: str) -> Finding:
    return Finding(name, version or otherwise, facts={"version": version})


def _nvrtc(host: Host) -> Finding:
    release = compiler(host)
    return _finding("NVRTC", release and ".".join(map(str, release)), "not installed; building for a GPU needs it")


def _tensorrt(host: Host) -> Finding:
    python, system = first_version(host, TENSORRT), system_tensorrt(host)
    if python is None and system is not None:
        value = f"{system} of the system; this Python does not see it"
    else:
        value = python or "not installed"
    return Finding("TensorRT", value, facts={"version": python, "system_version": system})


def _launchers(host: Host) -> Finding:
    versions = {package: version for package in LAUNCHERS if (version := host.version(package))}
    value = ", ".join(f"{package} {version}" for package, version in versions.items())
    return Finding("CUDA in Python", value or "not installed", facts={"packages": versions})
