"""The compiler's own process: one ONNX file in, one plan out.

``python -m ssd_edge.engines.rtx.compile REQUEST`` takes a request in JSON and answers on stdout, a JSON object a line:
``{"progress": [done, total]}`` any number of times, and at the end ``{"facts": {…}}`` or ``{"error": "one sentence"}``.
NVIDIA's parser and compiler end their process where they meet what they cannot handle, and this one may end.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import onnx

from ssd_edge.engines.half import to_half
from ssd_edge.engines.rtx.convolutions import asked_for, check, counted, in_plan
from ssd_edge.engines.rtx.messages import plain
from ssd_edge.errors import BackendError, ModelError, SsdEdgeError

_MEMORY = {
    "weight_bytes": re.compile(r"Total Weights Memory: (\d+) bytes"),
    "activation_bytes": re.compile(r"Total Activation Memory: (\d+) bytes"),
    "scratch_bytes": re.compile(r"Max Scratch Memory: (\d+) bytes"),
}


def compile_plan(
    source: Path, plan: Path, precision: str, compute_capabilities: Sequence[str], progress: Callable[[int, int], None]
) -> dict[str, str]:
    """Compile heads, compare the plan with what was asked for, and write it.

    Args:
        source: heads in FP32, or with Q/DQ for ``INT8``.
        plan: the file to write.
        precision: ``FP32``, ``FP16`` or ``INT8``; what is not INT8 is FP16 then.
        compute_capabilities: as ``8.6``.
        progress: called with (done, total).

    Returns:
        Facts for the manifest: convolutions by precision, bytes of memory on the device, seconds.

    Raises:
        BackendError: TensorRT-RTX refused something, or made another precision.
        ModelError: the heads cannot be compiled.
    """
    import tensorrt_rtx as trt

    targets = [_target(trt, name) for name in compute_capabilities]
    model = prepared(onnx.load(str(source)), precision)
    asked = asked_for(model)
    began = perf_counter()
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.SerializeToString()):
        raise BackendError(f"TensorRT-RTX cannot read {source.name}: {_reason(parser, log)}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 means FP32
    config.num_compute_capabilities = len(targets)
    for place, target in enumerate(targets):
        config.set_compute_capability(target, place)
    monitor = _monitor(trt, progress)  # the configuration does not keep it alive
    config.progress_monitor = monitor
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise BackendError(f"TensorRT-RTX cannot build {source.name}: {log.last_error()}")
    seconds = perf_counter() - began
    content = bytes(built)
    found = in_plan(content, asked)
    check(asked, found)
    plan.write_bytes(content)
    return {
        "compute_capabilities": " ".join(compute_capabilities),
        "convolutions": counted(found.get(name, "unread") for name in asked),
        "build_seconds": f"{seconds:.2f}",
        **{name: matches[-1] for name, pattern in _MEMORY.items() if (matches := pattern.findall(log.text()))},
    }


def prepared(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """The model that the parser is given: of the precision asked for, batch 1, each convolution with a name of its own.

    Raises:
        ModelError: it holds something that TensorRT-RTX has no kernel for, or cannot be converted to FP16.
    """
    for node in model.graph.node:
        if node.op_type == "NonMaxSuppression":
            raise ModelError(
                f"node {node.name!r} is NonMaxSuppression, for which TensorRT-RTX has no kernel: "
                "heads must end before decode, as ssd-edge export writes them"
            )
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.shape.dim and not value.type.tensor_type.shape.dim[0].dim_value:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    seen: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "Conv" and (not node.name or node.name in seen):
            node.name = node.output[0]
        seen.add(node.name)
    return model if precision == "FP32" else to_half(model)


def _target(trt: Any, name: str) -> Any:
    known = {member[2:]: value for member, value in trt.ComputeCapability.__members__.items() if member[:2] == "SM"}
    if name.replace(".", "") not in known:
        names = ", ".join(f"{number[:-1]}.{number[-1]}" for number in sorted(known, key=int))
        raise BackendError(f"TensorRT-RTX {trt.__version__} does not know compute capability {name}; it knows {names}")
    return known[name.replace(".", "")]


def _log(trt: Any) -> Any:
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
            worst = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)
            errors = [line for severity, line in self.lines if severity in worst]
            return plain(errors[-1]) if errors else "it gave no reason"

    return Log()


def _monitor(trt: Any, progress: Callable[[int, int], None]) -> Any:
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


def _reason(parser: Any, log: Any) -> str:
    """Why the parser failed, with the node that it failed at."""
    if parser.num_errors == 0:
        return str(log.last_error())
    error = parser.get_error(0)
    where = f" (node {error.node_name() or error.node()}, {error.node_operator()})" if error.node_operator() else ""
    return plain(error.desc()) + where


def main() -> None:
    """Answer the request in the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the library prints is no answer
    request = json.loads(sys.argv[1])

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")

    try:
        facts = compile_plan(
            Path(request["source"]),
            Path(request["plan"]),
            request["precision"],
            request["compute_capabilities"],
            lambda done, total: answer({"progress": [done, total]}),
        )
    except MemoryError:
        answer({"error": "there is not enough memory to build this plan"})
    except (SsdEdgeError, OSError) as error:
        answer({"error": " ".join(str(error).split())})
    else:
        answer({"facts": facts})


if __name__ == "__main__":
    main()
