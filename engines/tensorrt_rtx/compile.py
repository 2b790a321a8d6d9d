"""Compile one ONNX file to a plan, in a process of its own. See ``ssd_edge.engines.nvidia.child``."""

from __future__ import annotations

import re
from pathlib import Path
from time import perf_counter
from typing import Any

from ssd_edge.engines.nvidia.builder import log_of, monitor_of, parse_failure, prepared, start
from ssd_edge.engines.nvidia.child import serve
from ssd_edge.engines.nvidia.convolutions import asked_for, counted, differences
from ssd_edge.engines.tensorrt_rtx.layers import in_plan
from ssd_edge.engines.tensorrt_rtx.request import Request
from ssd_edge.errors import BackendError
from ssd_edge.graph.files import read_model
from ssd_edge.progress import Progress

_MEMORY = {
    "weight_bytes": re.compile(r"Total Weights Memory: (\d+) bytes"),
    "activation_bytes": re.compile(r"Total Activation Memory: (\d+) bytes"),
    "scratch_bytes": re.compile(r"Max Scratch Memory: (\d+) bytes"),
}


def compile_plan(request: Request, progress: Progress, trt: Any) -> dict[str, str]:
    """Compile heads, compare the plan with the request, and write it.

    Args:
        request: what to compile.
        progress: called with (done, total).
        trt: the module ``tensorrt_rtx``.

    Returns:
        Facts for the manifest: convolutions by precision, bytes of memory on the device, seconds.

    Raises:
        BackendError: TensorRT-RTX refused something, or made another precision although ``strict`` is set.
        ModelError: the heads cannot be compiled.
    """
    source = Path(request.source)
    targets = [_target(trt, name) for name in request.compute_capabilities]
    model = prepared(read_model(source), request.precision, "TensorRT-RTX")
    asked = asked_for(model)
    began = perf_counter()
    log = log_of(trt)
    builder = start(trt.Builder, log, "TensorRT-RTX")
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.SerializeToString()):
        raise BackendError(f"TensorRT-RTX cannot read {source.name}: {parse_failure(parser, log)}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # or FP32 layers would compute in TF32
    config.num_compute_capabilities = len(targets)
    for place, target in enumerate(targets):
        config.set_compute_capability(target, place)
    monitor = monitor_of(trt, progress)  # the configuration does not keep it alive
    config.progress_monitor = monitor
    built, why_no_graph = _built_for_capture(trt, builder, network, config, log)
    if built is None:
        raise BackendError(f"TensorRT-RTX cannot build {source.name}: {log.last_error()}")
    seconds = perf_counter() - began
    content = bytes(built)
    precisions = in_plan(content, asked)
    other = differences(asked, precisions, "TensorRT-RTX", request.strict)
    Path(request.plan).write_bytes(content)
    return {
        "compute_capabilities": " ".join(request.compute_capabilities),
        "built_for_graphs": "yes" if why_no_graph is None else f"no: {why_no_graph}",
        "convolutions": counted(precisions.get(name, "unread") for name in asked),
        **other,
        "build_seconds": f"{seconds:.2f}",
        **{name: matches[-1] for name, pattern in _MEMORY.items() if (matches := pattern.findall(log.text()))},
    }


_FOR_CAPTURE = "REQUIRE_USER_ALLOCATION"


def _built_for_capture(trt: Any, builder: Any, network: Any, config: Any, log: Any) -> tuple[Any, str | None]:
    """Build a plan whose runs can be captured into a CUDA graph; if the network rules that out, build it without.

    Returns:
        The plan, None if it cannot be built, and why its runs cannot be captured, None if they can.
    """
    flag = getattr(trt.BuilderFlag, _FOR_CAPTURE)
    config.set_flag(flag)
    built = builder.build_serialized_network(network, config)
    if built is not None or _FOR_CAPTURE not in log.text():
        return built, None
    reason = log.last_error()
    config.clear_flag(flag)
    return builder.build_serialized_network(network, config), reason


def _target(trt: Any, name: str) -> Any:
    known = {member[2:]: value for member, value in trt.ComputeCapability.__members__.items() if member[:2] == "SM"}
    if name.replace(".", "") not in known:
        names = ", ".join(f"{number[:-1]}.{number[-1]}" for number in sorted(known, key=int))
        raise BackendError(f"TensorRT-RTX {trt.__version__} does not know compute capability {name}; it knows {names}")
    return known[name.replace(".", "")]


if __name__ == "__main__":
    serve("TensorRT-RTX", "tensorrt_rtx", compile_plan, Request)
