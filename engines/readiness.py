"""Tell which backends could run a bundle on this machine, and what is missing, without importing any of them.

For an existing bundle, ``incompatibility`` says more: it knows the versions and GPUs that the bundle was made for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ssd_edge.machine import cuda, gpu_packages, jetson, nvidia
from ssd_edge.machine.examine import side_by_side
from ssd_edge.machine.finding import Remedy
from ssd_edge.machine.host import Host, UnansweredError

RTX_COMPUTE_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))
"""Compute capabilities that TensorRT-RTX 1.7 compiles for: ``tensorrt_rtx.ComputeCapability``."""

KERNELS_BY_CUDA = 13
"""Major CUDA release of the kernel compiler that ``ssd-edge[rtx]`` installs; the driver must support it."""

OLDEST_TENSORRT = (10, 3)

_NO_LAUNCHER = f"neither {' nor '.join(cuda.LAUNCHERS)} is installed"
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
        to_build: what is in the way of building for it here; a machine that only runs engines does not need it.
        notes: what works, but not as well as it could.
    """

    runs_on: str
    obstacles: tuple[Obstacle, ...]
    to_build: tuple[Obstacle, ...] = ()
    notes: tuple[Obstacle, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether nothing is in the way."""
        return not self.obstacles

    def sentence(self) -> str:
        """Explain why it cannot run, and what to do."""
        return _sentence(self.obstacles)

    def why_not_built(self) -> str | None:
        """Explain why it cannot be built and run here, and what to do; None if it can."""
        return _sentence(self.obstacles or self.to_build) or None

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        listed = {"obstacles": self.obstacles, "to_build": self.to_build, "notes": self.notes}
        rows = {
            name: [{"reason": one.reason, **one.remedy._asdict()} for one in obstacles]
            for name, obstacles in listed.items()
        }
        return {"runs": self.runs, "runs_on": self.runs_on, **rows}


def _sentence(obstacles: tuple[Obstacle, ...]) -> str:
    return "; ".join(f"{obstacle.reason}: {obstacle.remedy}" for obstacle in obstacles)


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
        other = _CPU if jetson.release(host) is None else gpu_packages.BUILD_FOR_JETSON
        return Readiness("", (Obstacle(reason, other),))
    if driver.cuda[0] < KERNELS_BY_CUDA:
        reason = (
            f"the kernels are compiled by CUDA {KERNELS_BY_CUDA}, and this driver knows no release after "
            f"{_release(driver.cuda)}"
        )
        obstacles.append(Obstacle(reason, nvidia.driver_install(host)))
    version = cuda.first_version(host, cuda.TENSORRT_RTX)
    if version is None or cuda.first_version(host, cuda.LAUNCHERS) is None:
        reason = _NO_LAUNCHER if version else "TensorRT-RTX is not installed"
        obstacles.append(Obstacle(reason, gpu_packages.tensorrt_rtx(host)))
    else:
        obstacles += _newer_launcher(host, driver)
    return _with_compiler(host, driver, f"TensorRT-RTX {version} on {gpu.name}", obstacles)


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
        reason = f"TensorRT {version} is installed, and {_release(OLDEST_TENSORRT)} is the oldest that will do"
        obstacles.append(Obstacle(reason, gpu_packages.newer_tensorrt(host)))
    elif (missing := jetson.missing_dla_compiler(host)) is not None:
        obstacles.append(Obstacle(*missing))
    if cuda.first_version(host, cuda.LAUNCHERS) is None:
        obstacles.append(Obstacle(_NO_LAUNCHER, gpu_packages.compiler(host)))
    else:
        obstacles += _newer_launcher(host, driver)
    runtime = f"TensorRT {version}" if version else "TensorRT of another package"
    return _with_compiler(host, driver, f"{runtime} on {driver.gpus[0].name}", obstacles)


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


def _newer_launcher(host: Host, driver: nvidia.Driver) -> list[Obstacle]:
    """Find a ``cuda-bindings`` of a later major release, which calls functions that the driver does not have."""
    version = host.version("cuda-bindings")
    if version is None or _numbers(version)[0] <= driver.cuda[0]:
        return []
    has = _release(driver.cuda)
    reason = f"cuda-bindings {version} needs a driver of CUDA {_numbers(version)[0]}, and this one has {has}"
    return [Obstacle(reason, gpu_packages.compiler(host))]


def _with_compiler(host: Host, driver: nvidia.Driver, runs_on: str, obstacles: list[Obstacle]) -> Readiness:
    """Add what building needs; with obstacles, only these are told, since their remedy brings the compiler too."""
    if obstacles:
        return Readiness("", tuple(obstacles))
    nvrtc = cuda.compiler(host)
    if nvrtc is None:
        return Readiness(runs_on, (), to_build=(Obstacle("NVRTC is not installed", gpu_packages.compiler(host)),))
    if nvrtc <= driver.cuda:
        return Readiness(runs_on, ())
    newer = f"NVRTC {_release(nvrtc)} is newer than this driver's CUDA {_release(driver.cuda)}, which refuses its PTX"
    note = Obstacle(f"{newer}; only kernels made for this GPU itself run", gpu_packages.compiler(host))
    return Readiness(runs_on, (), notes=(note,))


def _no_tensorrt(host: Host) -> Obstacle:
    system, remedy = cuda.system_tensorrt(host), gpu_packages.tensorrt(host)
    if "python3-libnvinfer" in jetson.system_packages(host):
        return Obstacle(f"TensorRT {system or ''} of the system is not seen by this Python", remedy)
    if system is not None:
        return Obstacle(f"TensorRT {system} has no Python part here", remedy)
    if jetson.release(host) is not None:
        return Obstacle("JetPack's TensorRT is not installed", remedy)
    return Obstacle("TensorRT is not installed", remedy)


def _release(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _dotted(gpu: nvidia.Gpu) -> str:
    return ".".join(map(str, gpu.compute_capability))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))
