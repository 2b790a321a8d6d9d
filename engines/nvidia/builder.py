"""Code shared by the builders of TensorRT and TensorRT-RTX: preparing the model, logging, progress."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ssd_edge.engines.nvidia.messages import plain
from ssd_edge.errors import BackendError, ModelError
from ssd_edge.graph.free_batch import with_free_batch
from ssd_edge.graph.half import to_half
from ssd_edge.progress import Progress

if TYPE_CHECKING:
    import onnx


def prepared(model: onnx.ModelProto, precision: str, library: str, batch: int = 1) -> onnx.ModelProto:
    """Prepare heads for the parser: convert them to the precision, and give each convolution a unique name.

    Args:
        model: the heads; modified in place.
        precision: ``FP32``, ``FP16`` or ``INT8``; with ``INT8`` all other layers become FP16.
        library: the library's name for people.
        batch: 1 for a fixed batch of one; above 1 for a free batch.

    Raises:
        ModelError: the heads hold a node without a kernel, cannot be converted to FP16, or cannot take a free batch.
    """
    for node in model.graph.node:
        if node.op_type == "NonMaxSuppression":
            raise ModelError(
                f"node {node.name!r} is NonMaxSuppression, for which {library} has no kernel here: "
                "heads must end before decode, as ssd-edge export writes them"
            )
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value and batch == 1:
            dims[0].dim_value = 1
    if batch > 1:
        model = with_free_batch(model)
    seen: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "Conv" and (not node.name or node.name in seen):
            node.name = node.output[0]
        seen.add(node.name)
    return model if precision == "FP32" else to_half(model)


_NO_MEMORY = re.compile(r"out ?of ?memory|insufficient memory", re.IGNORECASE)


def log_of(trt: Any) -> Any:
    """Make an ``ILogger`` that records messages; ``trt`` supplies the base class.

    ``text()`` returns all messages; ``last_error()`` the last error, or the last warning if there is no error;
    ``lack_of_memory()`` the last message about missing memory, or None. Errors after a lack of memory are only its
    consequences.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        """Records messages."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[tuple[Any, str]] = []

        def log(self, severity: Any, msg: str) -> None:
            self.lines.append((severity, msg))

        def text(self) -> str:
            return "\n".join(line for _, line in self.lines)

        def last_error(self) -> str:
            kinds = trt.ILogger.Severity
            for which in ({kinds.INTERNAL_ERROR, kinds.ERROR}, {kinds.WARNING}):
                said = [line for severity, line in self.lines if severity in which]
                if said:
                    return plain(said[-1])
            return "it gave no reason"

        def lack_of_memory(self) -> str | None:
            lines = [line for _, line in self.lines if _NO_MEMORY.search(line)]
            return plain(lines[-1]) if lines else None

    return Log()


def start(kind: Any, log: Any, library: str) -> Any:
    """Create a builder or runtime.

    Raises:
        BackendError: CUDA is not available; the library then returns null, and its binding raises TypeError.
    """
    try:
        return kind(log)
    except TypeError:
        raise BackendError(f"{library} cannot start on this machine: {log.last_error()}") from None


def monitor_of(trt: Any, progress: Progress) -> Any:
    """Make a progress monitor; the caller must keep it alive, since the builder's configuration does not."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Reports the outermost phase's progress; cancels the build once the parent process is gone."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.parent = os.getppid()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self.steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self.steps:
                progress(step + 1, self.steps[phase_name])
            return os.getppid() == self.parent

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    return Monitor()


def parse_failure(parser: Any, log: Any) -> str:
    """Explain why the parser failed, and at which node."""
    if parser.num_errors == 0:
        return str(log.last_error())
    error = parser.get_error(0)
    where = f" (node {error.node_name() or error.node()}, {error.node_operator()})" if error.node_operator() else ""
    return plain(error.desc()) + where
