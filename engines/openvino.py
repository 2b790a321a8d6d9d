"""OpenVINO backend on the CPU: the default where there is no GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino

from ssd_edge.detector import Engine, RawHeads
from ssd_edge.engines.base import BuildOptions, Plan, PlanEntry
from ssd_edge.engines.cpu.releases import newer_than_installed
from ssd_edge.engines.nvidia.convolutions import choose_precision
from ssd_edge.errors import BackendError
from ssd_edge.graph.heads import precision_of
from ssd_edge.machine import instructions
from ssd_edge.machine.host import this_host
from ssd_edge.progress import Progress
from ssd_edge.spec import ModelSpec

NAME = "openvino"
OPTIONS = frozenset({"precision"})
ANY_PROCESSOR = True
CARRIED = ()

# Without the f32 hint OpenVINO rounds FP32 models to bf16 on processors with bf16 instructions.
_CONFIG = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
_HINTS = {"BF16": "bf16", "FP16": "f16"}
"""OpenVINO's hints for the narrow floats that a processor may be asked to compute in."""


@cache
def core() -> Any:
    """Create the process's only Core, which is never destroyed.

    A Core installs a stack for signal handlers. When destroyed, it unmaps that stack and restores the previous one.
    With two Cores, the second may restore the stack that the first has already unmapped, and the next signal (Ctrl-C,
    the end of a child process) kills the process.
    """
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # a mapped file that cp overwrites in place would kill the process
    return core


class OpenVinoEngine(Engine):
    """Compiled model with two requests, so that one frame is prepared while the other is inferred."""

    depth = 2
    backend = NAME

    def __init__(self, path: Path, spec: ModelSpec, precision: str) -> None:
        self.spec = spec
        self.precision = precision
        try:
            config = {**_CONFIG, "INFERENCE_PRECISION_HINT": _HINTS.get(precision, "f32")}
            model = core().compile_model(str(path), "CPU", config)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load {path}: {_first_line(error)}") from None
        self._requests = deque(model.create_infer_request() for _ in range(self.depth))
        self._inputs: deque[npt.NDArray[np.float32]] = deque(maxlen=self.depth)

    def submit(self, images: npt.NDArray[np.float32]) -> Callable[[], RawHeads]:
        """See ``Heads``."""
        request: Any = self._requests[0]
        try:
            request.set_input_tensor(openvino.Tensor(images, shared_memory=True))
            request.start_async()
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed: {_first_line(error)}") from None
        self._requests.rotate(-1)
        self._inputs.append(images)  # the tensor borrows the array's memory: it must live until the request is done

        def result() -> RawHeads:
            try:
                request.wait()
            except RuntimeError as error:
                raise BackendError(f"OpenVINO failed: {_first_line(error)}") from None
            return RawHeads(request.get_tensor("loc").data, request.get_tensor("logits").data)

        return result

    def close(self) -> None:
        """See ``Engine``."""
        for request in self._requests:
            request.cancel()
        self._requests.clear()


def build(onnx: Path, spec: ModelSpec, folder: Path, options: BuildOptions, progress: Progress) -> Plan:
    """Convert heads to OpenVINO's IR, with weights in FP32 or INT8 like the heads; see ``Backend``.

    BF16 and FP16, if asked for, are only the precision to compute in: the IR stays FP32, and the processor needs
    instructions for them.
    """
    precision = _precision(options.precision, precision_of(onnx), spec)
    try:
        model = core().read_model(str(onnx))
        openvino.save_model(model, str(folder / "heads.xml"), compress_to_fp16=False)
    except RuntimeError as error:
        raise BackendError(f"OpenVINO cannot build {onnx}: {_first_line(error)}") from None
    return Plan(("heads.xml", "heads.bin"), version(), precision)


def load(folder: Path, plan: PlanEntry, spec: ModelSpec) -> OpenVinoEngine:
    """See ``Backend``."""
    return OpenVinoEngine(folder / plan.files[0], spec, plan.precision)


def incompatibility(plan: PlanEntry) -> str | None:
    """Explain why the plan cannot run, see ``Backend``: a runtime reads the IR of older releases."""
    if plan.precision in _HINTS and plan.precision not in instructions.narrow_floats(this_host()):
        return f"computes in {plan.precision}, for which this processor has no instructions: build it again here"
    return newer_than_installed("OpenVINO", "openvino", plan.version, version())


def _precision(asked: str | None, of_heads: str, spec: ModelSpec) -> str:
    """Choose the precision to compute in: that of the heads, unless a narrower float is asked for.

    Raises:
        BackendError: the processor has no instructions for it, or the heads do not allow it.
    """
    if asked not in _HINTS:
        return of_heads if asked is None else choose_precision(asked, of_heads, spec)
    native = instructions.narrow_floats(this_host())
    if asked not in native:
        known = f"only {' and '.join(native)}" if native else "neither BF16 nor FP16"
        raise BackendError(
            f"this processor computes {known} natively, so that {asked} would only be slower: leave out --precision"
        )
    if of_heads == "INT8":
        parent = spec.provenance.get("parent", "the FP32 heads")
        raise BackendError(f"{asked} needs FP32 heads, and these are INT8: build it from {parent}")
    return asked


def version() -> str:
    """Return the release of the OpenVINO that is installed."""
    return str(openvino.__version__).split("-")[0]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not line.startswith("Exception from")), "no reason given")
