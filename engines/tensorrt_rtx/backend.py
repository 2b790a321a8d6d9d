"""TensorRT-RTX backend: plans for RTX GPUs, compiled ahead of time on any machine, even one without a GPU.

Its files in a bundle: ``heads.rtx``, one plan for several compute capabilities, and the kernels for preprocess and
decode, as a cubin and as PTX for each compute capability.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssd_edge.detector import Engine
from ssd_edge.engines.base import BuildOptions, Plan, PlanEntry
from ssd_edge.engines.cuda.device import Device, Driver, open_driver
from ssd_edge.engines.gpu.engine import GpuEngine
from ssd_edge.engines.gpu.plan import open_plan, why_no_gpu, why_no_kernels
from ssd_edge.engines.kernels.compiler import Image, compile_kernels
from ssd_edge.engines.kernels.launch import check_limits
from ssd_edge.engines.nvidia.convolutions import choose_precision
from ssd_edge.engines.tensorrt_rtx.child import compile_in_child
from ssd_edge.engines.tensorrt_rtx.jit_cache import JitCache
from ssd_edge.engines.tensorrt_rtx.runtime import RtxHeads
from ssd_edge.errors import BackendError, MissingDependencyError
from ssd_edge.graph.heads import precision_of
from ssd_edge.machine.cuda import TENSORRT_RTX, installed, tensorrt_rtx_package
from ssd_edge.progress import Progress
from ssd_edge.spec import ModelSpec

NAME = "tensorrt-rtx"
OPTIONS = frozenset({"precision", "compute_capabilities"})
ANY_PROCESSOR = False
CARRIED = ()

PLAN = "heads.rtx"
DEFAULT_COMPUTE_CAPABILITIES = ("8.6", "8.9", "12.0")
"""RTX 30, 40 and 50. 7.5 (RTX 20) can be asked for, but its plans store depthwise convolutions as dense ones: an
SSDLite takes six times the space."""


def build(onnx: Path, spec: ModelSpec, folder: Path, options: BuildOptions, progress: Progress) -> Plan:
    """Build a plan: FP16 from FP32 heads unless FP32 is asked for, INT8 with FP16 elsewhere from Q/DQ heads.

    See ``Backend``.
    """
    version = installed_version()
    if version is None:
        raise MissingDependencyError(tensorrt_rtx_package(platform.machine()), "rtx", f"building for {NAME}")
    if find_spec("onnx") is None:
        raise MissingDependencyError("onnx", "rtx", f"building for {NAME}")
    precision = choose_precision(options.precision, precision_of(onnx), spec)
    capabilities = compute_capabilities(options.compute_capabilities or DEFAULT_COMPUTE_CAPABILITIES)
    check_limits(spec)
    facts = compile_in_child(onnx, folder / PLAN, precision, capabilities, progress)
    files = [PLAN]
    for capability in capabilities:
        for image, content in compile_kernels(f"sm_{capability.replace('.', '')}").images.items():
            (folder / image.file_name).write_bytes(content)
            files.append(image.file_name)
    return Plan(tuple(files), version, precision, facts)


def load(folder: Path, plan: PlanEntry, spec: ModelSpec) -> Engine:
    """See ``Backend``."""
    return open_engine(folder, plan, spec)


def open_engine(folder: Path, plan: PlanEntry, spec: ModelSpec, library: Any | None = None) -> GpuEngine:
    """Open a plan on the first GPU that the driver lists.

    Args:
        folder: the bundle.
        plan: a plan of this backend.
        spec: the spec of its heads.
        library: the module ``tensorrt_rtx``, or a stand-in for it; imported if not given.

    Raises:
        BackendError: there is no driver or too little memory, or the library refused the plan.
        BundleCompatibilityError: the bundle has no kernels for this GPU.
    """
    path = folder / plan.files[0]

    def network(device: Device, kernels: bytes) -> RtxHeads:
        return RtxHeads(path, spec, plan.precision, JitCache(path, device.compute_capability), library)

    return open_plan(folder, plan, network)


def incompatibility(plan: PlanEntry) -> str | None:
    """See ``Backend``."""
    try:
        return why_unfit(plan, open_driver())
    except BackendError as error:
        return f"cannot run: {error}"


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
    return unfit or why_no_kernels(Image.among(plan.files), driver)


def _of_another_release(version: str) -> str | None:
    present = installed_version()
    pip = f"pip install {tensorrt_rtx_package(platform.machine())}=={version}"
    if present is None:
        return f"needs TensorRT-RTX {version}, which is not installed: {pip}"
    if _release(present) != _release(version):
        return (
            f"was built by TensorRT-RTX {version}, and {present} is installed: {pip}, or build it again with "
            f"--backend {NAME}"
        )
    return None


def _for_another_gpu(plan: PlanEntry, name: str, compute_capability: tuple[int, int]) -> str | None:
    capability = ".".join(map(str, compute_capability))
    built_for = plan.facts.get("compute_capabilities", "").split()
    if capability in built_for:
        return None
    return (
        f"was built for compute capability {', '.join(built_for)}, and this machine's {name} has {capability}: "
        f"build it again with --backend {NAME} --compute-capability {' '.join([*built_for, capability])}"
    )


def installed_version() -> str | None:
    """Look up the installed version of TensorRT-RTX without importing it; None if it is not installed."""
    return installed(TENSORRT_RTX)


def _release(version: str) -> tuple[str, ...]:
    """Release without the build number: (1, 7, 1) of 1.7.1.116."""
    return tuple(version.split(".")[:3])


def compute_capabilities(names: Sequence[str]) -> tuple[str, ...]:
    """Sort compute capabilities and remove duplicates.

    Raises:
        BackendError: one is not written like 8.6.
    """
    for name in names:
        if not re.fullmatch(r"[1-9]\d?\.\d", name):
            raise BackendError(f"a compute capability looks like 8.6, but got {name!r}")
    return tuple(sorted(set(names), key=lambda name: tuple(map(int, name.split(".")))))
