"""Tell from a TensorRT plan's manifest whether it can run on this machine, since TensorRT itself only fails."""

from __future__ import annotations

from importlib.util import find_spec

from ssd_edge.engines.base import PlanEntry
from ssd_edge.engines.cuda.driver import Driver
from ssd_edge.engines.gpu.plan import why_no_gpu, why_no_kernels
from ssd_edge.engines.kernels.images import KernelImage
from ssd_edge.engines.plugins.decode_graph import TENSORRT_NAME
from ssd_edge.machine import gpu_packages, jetson
from ssd_edge.machine.cuda import TENSORRT, installed
from ssd_edge.machine.host import this_host

_REBUILD = "build it again here with --backend tensorrt"


def installed_version() -> str | None:
    """Look up the installed version of TensorRT, without importing it if possible; None if it is not installed."""
    return installed(TENSORRT) or _imported_version()


def why_unfit(plan: PlanEntry, driver: Driver) -> str | None:
    """Explain why a plan cannot run here, in words that follow "its … plan"; None if it can run.

    Raises:
        BackendError: the driver failed.
    """
    no_gpu = why_no_gpu(driver)
    if no_gpu is not None:
        return no_gpu
    images = KernelImage.among(plan.files)
    reasons = (
        _of_another_release(plan),
        _for_another_gpu(plan, driver.device_name(0), driver.compute_capability(0)),
        _of_another_plugin(plan),
        _by_a_newer_driver(plan, driver.release()),
        _of_another_jetpack(plan),
    )
    unfit = next((reason for reason in reasons if reason is not None), None)
    if unfit is None and plan.facts.get("decode") == "ahead-of-time":
        # The plan contains PTX, which needs a driver of its CUDA release or later.
        unfit = why_no_kernels([image for image in images if image.kind == "ptx"], driver)
    return unfit or why_no_kernels(images, driver)


def _of_another_release(plan: PlanEntry) -> str | None:
    """Compare releases: a plan runs on the one that built it, a version-compatible one also on later minor ones."""
    present = installed_version()
    if present is None:
        of_jetpack = f"{jetson.INSTALL} brings that of JetPack, for environments made with --system-site-packages"
        by_pip = jetson.release(this_host()) is None
        remedy = gpu_packages.tensorrt_release(this_host(), _public(plan.version)) if by_pip else of_jetpack
        return f"needs TensorRT {plan.version}, which is not installed: {remedy}"
    built, here = _numbers(plan.version), _numbers(present)
    if plan.facts.get("version_compatible") == "yes":
        if here[0] == built[0] and here >= built:
            return None
        return (
            f"was built by TensorRT {plan.version} for that and later releases of {built[0]}, and {present} is "
            f"installed: {_REBUILD}"
        )
    if here[:3] == built[:3]:
        return None
    return (
        f"was built by TensorRT {plan.version}, and {present} is installed: {_REBUILD}, or with --version-compatible "
        "for later releases too"
    )


def _for_another_gpu(plan: PlanEntry, name: str, capability: tuple[int, int]) -> str | None:
    here, built = ".".join(map(str, capability)), plan.facts.get("compute_capability", "")
    level = plan.facts.get("hardware_compatible", "none")
    if level == "ampere-plus":
        if capability >= (8, 0) and "dla_core" not in plan.facts:
            return None
        return f"was built for GPUs from compute capability 8.0 on, and this machine's {name} has {here}: {_REBUILD}"
    if here != built:
        maker = plan.facts.get("gpu", "a GPU")
        return f"was built on {maker} of compute capability {built}, and this machine's {name} has {here}: {_REBUILD}"
    return None


def _of_another_plugin(plan: PlanEntry) -> str | None:
    version = plan.facts.get("plugin_version")
    if version in {None, TENSORRT_NAME["plugin_version"]}:
        return None
    ours = TENSORRT_NAME["plugin_version"]
    return f"holds decode plugins of version {version}, and this ssd-edge has version {ours}: {_REBUILD}"


def _by_a_newer_driver(plan: PlanEntry, release: tuple[int, int]) -> str | None:
    built = _numbers(plan.facts.get("driver", "0"))
    if release[0] >= built[0]:
        return None
    needed, here = ".".join(map(str, built)), ".".join(map(str, release))
    return (
        f"was built with a driver for CUDA {needed}, and this one is for {here}: install a newer driver, or {_REBUILD}"
    )


def _of_another_jetpack(plan: PlanEntry) -> str | None:
    built, here = plan.facts.get("jetpack"), jetson.release(this_host())
    if built is None or here is None or _numbers(built)[:1] == here[:1]:
        return None
    l4t = ".".join(map(str, here))
    return f"was built on Jetson Linux {built}, and this one is {l4t}: {_REBUILD}"


def _imported_version() -> str | None:
    """Import TensorRT for its version: JetPack's bindings may lie in a system folder without package metadata."""
    if find_spec("tensorrt") is None:
        return None
    try:
        import tensorrt
    except ImportError:
        return None
    return str(tensorrt.__version__)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _public(version: str) -> str:
    """Convert 10.3.0.30-1+cuda12.5 to 10.3.0.*, for pip."""
    return ".".join(version.split("+")[0].split("-")[0].split(".")[:3]) + ".*"
