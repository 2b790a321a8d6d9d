"""The command that installs a GPU package on this machine, which depends on its driver and Jetson Linux.

All advice on such packages comes from here: ``pip install 'ssd-edge[tensorrt]'`` is right on a PC with a new driver,
and wrong on a Jetson, whose TensorRT is a part of JetPack.
"""

from __future__ import annotations

from collections.abc import Callable

from ssd_edge.errors import MissingDependencyError
from ssd_edge.machine import cuda, host, jetson, nvidia
from ssd_edge.machine.cuda_releases import CudaRelease, release_for, release_of_jetson
from ssd_edge.machine.finding import Remedy
from ssd_edge.machine.host import Host, UnansweredError

BUILD_FOR_JETSON = Remedy("build on the Jetson for TensorRT", "ssd-edge build-engine HEADS.onnx --backend tensorrt")
_FLASH = Remedy("flash JetPack 6.2 or later")


def packages_here(machine: Host) -> CudaRelease | None:
    """Return the row of the table for a machine: by its driver, else by its Jetson Linux; None if there is neither."""
    l4t = jetson.release(machine)
    try:
        return release_for(nvidia.driver(machine).cuda, machine.architecture)
    except (nvidia.NoGpuError, UnansweredError):
        return None if l4t is None else release_of_jetson(l4t)


def compiler(machine: Host) -> Remedy:
    """Advise how to install NVRTC, with the ``cuda-bindings`` that load it."""
    return _by_pip(machine, lambda row: row.packages, "rtx")


def bindings(machine: Host) -> Remedy:
    """Advise how to install ``cuda-bindings``."""
    return _by_pip(machine, lambda row: (row.bindings,), "cuda")


def onnx(machine: Host) -> Remedy:
    """Advise how to install the package ``onnx``."""
    return Remedy(command="pip install onnx")


def tensorrt(machine: Host) -> Remedy:
    """Advise how to install TensorRT: a part of JetPack on a Jetson, a package on a PC."""
    l4t = jetson.release(machine)
    if l4t is None:
        row = packages_here(machine)
        if row is None or row.cuda >= (13, 0):
            return Remedy(command="pip install 'ssd-edge[tensorrt]'")
        return Remedy(command=pip_install(row.tensorrt, *row.packages, "onnx"))
    if l4t[0] < jetson.OLDEST_L4T[0]:
        return _FLASH
    if "python3-libnvinfer" in jetson.system_packages(machine):
        return Remedy("create the environment again", "python3 -m venv --system-site-packages .venv")
    if cuda.system_tensorrt(machine) is not None:
        return Remedy(command="sudo apt install python3-libnvinfer")
    return Remedy(command=jetson.INSTALL)


def newer_tensorrt(machine: Host) -> Remedy:
    """Advise how to replace a TensorRT that is too old."""
    return _FLASH if jetson.release(machine) is not None else tensorrt(machine)


def tensorrt_release(machine: Host, version: str) -> str:
    """Return the command that installs one release of TensorRT, such as ``10.16.1.*``, on a PC."""
    row = packages_here(machine)
    return pip_install(f"{row.tensorrt.partition('>')[0] if row else 'tensorrt'}=={version}")


def tensorrt_rtx(machine: Host) -> Remedy:
    """Advise how to install TensorRT-RTX; on a Jetson, whose GPU it does not know, what to use in its place."""
    return BUILD_FOR_JETSON if jetson.release(machine) is not None else Remedy(command="pip install 'ssd-edge[rtx]'")


def tensorrt_rtx_release(machine: Host, version: str) -> str:
    """Return what gets one release of TensorRT-RTX, such as ``1.7.1.116``; on a Jetson, what to do in its place."""
    if jetson.release(machine) is not None:
        return str(BUILD_FOR_JETSON)
    return f"pip install {cuda.tensorrt_rtx_package(machine.architecture)}=={version}"


def pip_install(*requirements: str) -> str:
    """Return the command that installs requirements, quoted for a shell."""
    return f"pip install {' '.join(name if name.isalnum() else repr(name) for name in requirements)}"


_ADVICE: dict[str, Callable[[Host], Remedy]] = {
    "NVRTC": compiler,
    "cuda-bindings": bindings,
    "cuda-bindings (or pycuda)": bindings,
    "pycuda": lambda machine: Remedy(command="pip install pycuda"),
    "onnx": onnx,
    "TensorRT": tensorrt,
    "TensorRT-RTX": tensorrt_rtx,
}
"""Advice by the name that sentences give to a package."""


def missing(package: str, purpose: str) -> MissingDependencyError:
    """Make the error for a package that this machine lacks, with the command that installs it here.

    Args:
        package: a key of ``_ADVICE``.
        purpose: what needs it; the subject of the sentence.
    """
    return MissingDependencyError(package, "", purpose, str(_ADVICE[package](host.this_host())))


def _by_pip(machine: Host, packages: Callable[[CudaRelease], tuple[str, ...]], extra: str) -> Remedy:
    row = packages_here(machine)
    if row is not None:
        return Remedy(command=pip_install(*packages(row)))
    if jetson.release(machine) is not None:
        return _FLASH
    try:
        nvidia.driver(machine)
    except (nvidia.NoGpuError, UnansweredError):  # without a driver, as where plans for other machines are built
        return Remedy(command=f"pip install 'ssd-edge[{extra}]'")
    return nvidia.driver_install(machine)
