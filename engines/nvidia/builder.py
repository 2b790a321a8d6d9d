"""What the builders of TensorRT and TensorRT-RTX have in common: the model given to them, their log, their progress."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ssd_edge.engines.base import Progress
from ssd_edge.engines.nvidia.messages import plain
from ssd_edge.errors import BackendError, ModelError
from ssd_edge.graph.free_batch import with_free_batch
from ssd_edge.graph.half import to_half

if TYPE_CHECKING:
    import onnx


def prepared(model: onnx.ModelProto, precision: str, library: str, batch: int = 1) -> onnx.ModelProto:
    """The model that the parser is given: of the precision asked for, each convolution with a name of its own.

    Args:
        model: heads; changed.
        precision: ``FP32``, ``FP16`` or ``INT8``; what is not INT8 is FP16 then.
        library: its name for people.
        batch: 1 for a fixed batch of one; more, where the batch is to be free.

    Raises:
        ModelError: it holds something for which there is no kernel, cannot be converted to FP16, or takes no batch.
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
    """A logger of this module's kind that keeps what the library says.

    ``text()`` is all of it; ``last_error()`` the last error, or warning where there is none; ``lack_of_memory()`` what
    was said of memory that could not be had, or None: the errors after it are mere consequences.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps what the library says."""

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
    """A builder or runtime: where CUDA cannot be had the library gives none, and its binding raises TypeError.

    Raises:
        BackendError: there is none.
    """
    try:
        return kind(log)
    except TypeError:
        raise BackendError(f"{library} cannot start on this machine: {log.last_error()}") from None


def monitor_of(trt: Any, progress: Progress) -> Any:
    """A progress monitor; the builder's configuration does not keep it alive."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Tells of the outermost phase; ends the build where nobody waits for it any more."""

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
    """Why the parser failed, with the node that it failed at."""
    if parser.num_errors == 0:
        return str(log.last_error())
    error = parser.get_error(0)
    where = f" (node {error.node_name() or error.node()}, {error.node_operator()})" if error.node_operator() else ""
    return plain(error.desc()) + where
