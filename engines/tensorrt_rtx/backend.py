"""TensorRT-RTX backend: plans for RTX GPUs, compiled ahead of time on any machine, even one without a GPU.

Its files in a bundle: ``heads.rtx``, one plan for several compute capabilities, and the kernels for preprocess and
decode, as a cubin and as PTX for each compute capability.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ssd_edge.detector import Engine
from ssd_edge.engines.base import BuildOptions, Plan, PlanEntry
from ssd_edge.engines.cuda.device import open_driver
from ssd_edge.engines.gpu.plan import why_unfit_here
from ssd_edge.engines.kernels.compiler import compile_kernels
from ssd_edge.engines.kernels.launch import check_limits
from ssd_edge.engines.nvidia.child import ask_child
from ssd_edge.engines.nvidia.convolutions import choose_precision
from ssd_edge.engines.nvidia.needed import needed
from ssd_edge.engines.tensorrt_rtx.fitness import installed_version, why_unfit
from ssd_edge.engines.tensorrt_rtx.request import Request
from ssd_edge.errors import BackendError
from ssd_edge.graph.heads import precision_of
from ssd_edge.progress import Progress
from ssd_edge.spec import ModelSpec

NAME = "tensorrt-rtx"
OPTIONS = frozenset({"precision", "compute_capabilities", "strict"})
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
    version = needed(installed_version(), "TensorRT-RTX", NAME)
    precision = choose_precision(options.precision, precision_of(onnx), spec)
    capabilities = compute_capabilities(options.compute_capabilities or DEFAULT_COMPUTE_CAPABILITIES)
    check_limits(spec)
    request = Request(str(onnx), str(folder / PLAN), precision, capabilities, options.strict)
    facts = ask_child("ssd_edge.engines.tensorrt_rtx.compile", "TensorRT-RTX", request.to_json(), progress)
    files = [PLAN]
    for capability in capabilities:
        for image, content in compile_kernels(f"sm_{capability.replace('.', '')}").images.items():
            (folder / image.file_name).write_bytes(content)
            files.append(image.file_name)
    return Plan(tuple(files), version, precision, facts)


def load(folder: Path, plan: PlanEntry, spec: ModelSpec) -> Engine:
    """See ``Backend``."""
    from ssd_edge.engines.tensorrt_rtx.runtime import open_engine

    return open_engine(folder, plan, spec)


def incompatibility(plan: PlanEntry) -> str | None:
    """See ``Backend``."""
    return why_unfit_here(plan, why_unfit, open_driver)


def compute_capabilities(names: Sequence[str]) -> tuple[str, ...]:
    """Sort compute capabilities and remove duplicates.

    Raises:
        BackendError: one is not written like 8.6.
    """
    for name in names:
        if not re.fullmatch(r"[1-9]\d?\.\d", name):
            raise BackendError(f"a compute capability looks like 8.6, but got {name!r}")
    return tuple(sorted(set(names), key=lambda name: tuple(map(int, name.split(".")))))
