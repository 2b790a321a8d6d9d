"""Tell from the manifest of a TensorRT-RTX plan whether it can run on this machine."""

from __future__ import annotations

from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.cuda.driver import Driver
from ssd_edge.engines.gpu.plan import why_no_gpu, why_no_kernels
from ssd_edge.engines.kernels.images import KernelImage
from ssd_edge.machine.cuda import TENSORRT_RTX, installed
from ssd_edge.machine.gpu_packages import tensorrt_rtx_release
from ssd_edge.machine.host import this_host

_REBUILD = "build it again with --backend tensorrt-rtx"


def why_unfit(plan: PlanEntry, driver: Driver) -> str | None:
    """Explain why a plan cannot run here, in words that follow "its … plan"; None if it can run.

    A plan runs under the release that built it, on the compute capabilities that it was built for.

    Raises:
        BackendError: the driver failed.
    """
    no_gpu = why_no_gpu(driver)
    if no_gpu is not None:
        return no_gpu
    name, capability = driver.device_name(0), driver.compute_capability(0)
    unfit = _of_another_release(plan.version) or _for_another_gpu(plan, name, capability)
    return unfit or why_no_kernels(KernelImage.among(plan.files), driver)


def _of_another_release(version: str) -> str | None:
    present = installed_version()
    pip = tensorrt_rtx_release(this_host(), version)
    if present is None:
        return f"needs TensorRT-RTX {version}, which is not installed: {pip}"
    if _release(present) != _release(version):
        return f"was built by TensorRT-RTX {version}, and {present} is installed: {pip}, or {_REBUILD}"
    return None


def _for_another_gpu(plan: PlanEntry, name: str, compute_capability: tuple[int, int]) -> str | None:
    capability = ".".join(map(str, compute_capability))
    built_for = plan.facts.get("compute_capabilities", "").split()
    if capability in built_for:
        return None
    return (
        f"was built for compute capability {', '.join(built_for)}, and this machine's {name} has {capability}: "
        f"{_REBUILD} --compute-capability {' '.join([*built_for, capability])}"
    )


def installed_version() -> str | None:
    """Look up the installed version of TensorRT-RTX without importing it; None if it is not installed."""
    return installed(TENSORRT_RTX)


def _release(version: str) -> tuple[str, ...]:
    """Release without the build number: (1, 7, 1) of 1.7.1.116."""
    return tuple(version.split(".")[:3])
