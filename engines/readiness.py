"""Tell which backends could run a bundle on this machine, and what is missing, without importing any of them.

For an existing bundle, ``incompatibility`` says more: it knows the versions and GPUs that the bundle was made for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ssd_edge.machine import cuda, jetson, nvidia
from ssd_edge.machine.examine import side_by_side
from ssd_edge.machine.finding import Remedy
from ssd_edge.machine.host import Host, UnansweredError

RTX_COMPUTE_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))
"""Compute capabilities that TensorRT-RTX 1.7 compiles for: ``tensorrt_rtx.ComputeCapability``."""

KERNELS_BY_CUDA = 13
"""Major CUDA release of the kernel compiler that ``ssd-edge[rtx]`` installs; the driver must support it."""

OLDEST_TENSORRT = (10, 3)

_NO_LAUNCHER = f"neither {' nor '.join(cuda.LAUNCHERS)} is installed"
_TENSORRT = Remedy(command="pip install 'ssd-edge[tensorrt]'")

_CPU = Remedy("build here for the CPU", "ssd-edge build-engine HEADS.onnx --backend openvino")


@dataclass(frozen=True)
class Obstacle:
    """One reason why a backend cannot run here.

    Attributes:
        reason: the reason, as a clause.
        remedy: what to do about it.
    """

    reason: str
    remedy: Remedy


@dataclass(frozen=True)
class Readiness:
    """Whether one backend can run here.

    Attributes:
        runs_on: its release and the hardware it runs on; "" if it cannot run.
        obstacles: everything in the way; empty if it can run.
    """

    runs_on: str
    obstacles: tuple[Obstacle, ...]

    @property
    def runs(self) -> bool:
        """Whether nothing is in the way."""
        return not self.obstacles

    def sentence(self) -> str:
        """Explain why it cannot run, and what to do."""
        return "; ".join(f"{obstacle.reason}: {obstacle.remedy}" for obstacle in self.obstacles)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        obstacles = [{"reason": obstacle.reason, **obstacle.remedy._asdict()} for obstacle in self.obstacles]
        return {"runs": self.runs, "runs_on": self.runs_on, "obstacles": obstacles}


def openvino(host: Host) -> Readiness:
    """Check for OpenVINO's package."""
    return _on_cpu(host, "OpenVINO", "openvino")


def onnxruntime(host: Host) -> Readiness:
    """Check for ONNX Runtime, which comes in packages of several names."""
    return _on_cpu(host, "ONNX Runtime", "onnxruntime")


def tensorrt_rtx(host: Host) -> Readiness:
    """Check what TensorRT-RTX needs: RTX GPU, driver that supports the kernels' CUDA, its package, a CUDA binding."""
    try:
        driver = nvidia.driver(host)
    except nvidia.NoGpuError as error:
        return Readiness("", (Obstacle(str(error), error.remedy or _CPU),))
    gpu, obstacles = driver.gpus[0], []
    if gpu.compute_capability not in RTX_COMPUTE_CAPABILITIES:
        known = ", ".join(f"{major}.{minor}" for major, minor in RTX_COMPUTE_CAPABILITIES)
        reason = f"TensorRT-RTX is for compute capabilities {known}, and {gpu.name} has {_dotted(gpu)}"
        return Readiness("", (Obstacle(reason, _CPU),))
    if driver.cuda[0] < KERNELS_BY_CUDA:
        latest = ".".join(map(str, driver.cuda))
        reason = f"the kernels are compiled by CUDA {KERNELS_BY_CUDA}, and this driver knows no release after {latest}"
        obstacles.append(Obstacle(reason, nvidia.driver_install(host)))
    version = cuda.first_version(host, cuda.TENSORRT_RTX)
    if version is None or cuda.first_version(host, cuda.LAUNCHERS) is None:
        reason = _NO_LAUNCHER if version else "TensorRT-RTX is not installed"
        obstacles.append(Obstacle(reason, Remedy(command="pip install 'ssd-edge[rtx]'")))
    return Readiness("" if obstacles else f"TensorRT-RTX {version} on {gpu.name}", tuple(obstacles))


def tensorrt(host: Host) -> Readiness:
    """Check what TensorRT needs: NVIDIA GPU, its Python package (part of JetPack on a Jetson), a CUDA binding."""
    try:
        driver = nvidia.driver(host)
    except nvidia.NoGpuError as error:
        return Readiness("", (Obstacle(str(error), error.remedy or _CPU),))
    version = cuda.first_version(host, cuda.TENSORRT)
    obstacles = []
    if version is None and not host.has_module("tensorrt"):
        obstacles.append(_no_tensorrt(host))
    elif version is not None and _numbers(version) < OLDEST_TENSORRT:
        oldest = ".".join(map(str, OLDEST_TENSORRT))
        remedy = Remedy("JetPack 6.1 or later has it") if jetson.release(host) else _TENSORRT
        obstacles.append(Obstacle(f"TensorRT {version} is installed, and {oldest} is the oldest that will do", remedy))
    if cuda.first_version(host, cuda.LAUNCHERS) is None:
        remedy = Remedy(command=f"pip install 'cuda-bindings=={driver.cuda[0]}.*'")
        obstacles.append(Obstacle(_NO_LAUNCHER, remedy))
    runtime = f"TensorRT {version}" if version else "TensorRT of another package"
    return Readiness("" if obstacles else f"{runtime} on {driver.gpus[0].name}", tuple(obstacles))


READINESS: dict[str, Callable[[Host], Readiness]] = {
    "tensorrt": tensorrt,
    "tensorrt-rtx": tensorrt_rtx,
    "openvino": openvino,
    "onnxruntime": onnxruntime,
}
"""Checks by backend, as in ``backends.BACKENDS``, which is not imported here: its NumPy and OpenCV may be broken."""


def readiness(host: Host, backends: Mapping[str, Callable[[Host], Readiness]] = READINESS) -> dict[str, Readiness]:
    """Check all backends. The host remembers answers, so nothing is asked twice."""
    answers = side_by_side(host, backends)
    return {
        name: Readiness("", (Obstacle(str(answer), _CPU),)) if isinstance(answer, UnansweredError) else answer
        for name, answer in answers.items()
    }


def _on_cpu(host: Host, name: str, module: str) -> Readiness:
    version = host.version(module)
    if version is None and not host.has_module(module):
        return Readiness("", (Obstacle(f"{name} is not installed", Remedy(command=f"pip install {module}")),))
    return Readiness(f"{name} {version or 'of another package'} on the CPU", ())


def _no_tensorrt(host: Host) -> Obstacle:
    system = cuda.system_tensorrt(host)
    if "python3-libnvinfer" in jetson.system_packages(host):
        reason = f"TensorRT {system or ''} of the system is not seen by this Python"
        remedy = Remedy("create the environment again", "python3 -m venv --system-site-packages .venv")
        return Obstacle(reason, remedy)
    if system is not None:
        remedy = Remedy(command="sudo apt install python3-libnvinfer")
        return Obstacle(f"TensorRT {system} has no Python part here", remedy)
    if jetson.release(host) is not None:
        return Obstacle("JetPack's TensorRT is not installed", Remedy(command=jetson.INSTALL))
    return Obstacle("TensorRT is not installed", _TENSORRT)


def _dotted(gpu: nvidia.Gpu) -> str:
    return ".".join(map(str, gpu.compute_capability))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))
