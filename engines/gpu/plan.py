"""Open a bundle's plan with its kernels on the first GPU, or explain why that GPU cannot run the kernels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.cuda.device import Device
from ssd_edge.engines.cuda.driver import Driver
from ssd_edge.engines.gpu.engine import GpuEngine
from ssd_edge.engines.gpu.network import DeviceNetwork
from ssd_edge.engines.kernels.images import KernelImage, choose_image
from ssd_edge.errors import BackendError, BundleCompatibilityError

NO_GPU = "the NVIDIA driver shows no GPU"


def open_plan(folder: Path, plan: PlanEntry, network: Callable[[Device, bytes], DeviceNetwork]) -> GpuEngine:
    """Open a plan on the first GPU that the driver lists.

    Args:
        folder: the bundle.
        plan: the plan; its first file is the library's, and the kernels are among the others.
        network: loads the library's file, given the device and the kernels that suit it.

    Raises:
        BackendError: there is no driver or too little memory, or the library refused the plan.
        BundleCompatibilityError: the bundle has no kernels for this GPU.
    """
    with ExitStack() as undo:
        device = undo.enter_context(Device())
        chosen = choose_image(KernelImage.among(plan.files), device.compute_capability, device.driver.release())
        kernels = (folder / chosen.file_name).read_bytes()
        loaded = network(device, kernels)
        undo.pop_all()
    return GpuEngine(plan.backend, loaded, device, kernels)


def why_unfit_here(
    plan: PlanEntry, why_unfit: Callable[[PlanEntry, Driver], str | None], driver: Callable[[], Driver]
) -> str | None:
    """Explain why a plan cannot run on this machine's GPU, in words that follow "its … plan"; None if it can run.

    Args:
        plan: the plan.
        why_unfit: compares the plan with the machine.
        driver: opens the driver.
    """
    try:
        return why_unfit(plan, driver())
    except BackendError as error:
        return f"cannot run: {error}"


def why_no_gpu(driver: Driver) -> str | None:
    """Explain that there is no GPU, in words that follow "its … plan"; None if there is one.

    Raises:
        BackendError: the driver failed.
    """
    if driver.device_count() == 0:
        return f"cannot run: {NO_GPU}: see nvidia-smi, and CUDA_VISIBLE_DEVICES"
    return None


def why_no_kernels(images: list[KernelImage], driver: Driver) -> str | None:
    """Explain why the first GPU runs none of the images, in words that follow "its … plan"; None if it runs one.

    Raises:
        BackendError: the driver failed.
    """
    try:
        choose_image(images, driver.compute_capability(0), driver.release())
    except BundleCompatibilityError as error:
        return f"cannot run: {error}"
    return None
