"""Compile one ONNX file to a plan, in a process of its own. See ``ssd_edge.engines.nvidia.child``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from ssd_edge.engines.nvidia.builder import log_of, monitor_of, parse_failure, prepared, start
from ssd_edge.engines.nvidia.child import answer
from ssd_edge.engines.nvidia.convolutions import asked_for, check, counted
from ssd_edge.engines.tensorrt_rtx.layers import in_plan
from ssd_edge.errors import BackendError
from ssd_edge.graph.files import read_model
from ssd_edge.progress import Progress

_MEMORY = {
    "weight_bytes": re.compile(r"Total Weights Memory: (\d+) bytes"),
    "activation_bytes": re.compile(r"Total Activation Memory: (\d+) bytes"),
    "scratch_bytes": re.compile(r"Max Scratch Memory: (\d+) bytes"),
}


def compile_plan(
    source: Path, plan: Path, precision: str, compute_capabilities: Sequence[str], progress: Progress
) -> dict[str, str]:
    """Compile heads, check the precision of the plan's convolutions, and write the plan.

    Args:
        source: heads in FP32, or with Q/DQ for ``INT8``.
        plan: the file to write.
        precision: ``FP32``, ``FP16`` or ``INT8``; with ``INT8`` all other layers become FP16.
        compute_capabilities: compute capabilities such as ``8.6``.
        progress: called with (done, total).

    Returns:
        Facts for the manifest: convolutions by precision, bytes of memory on the device, seconds.

    Raises:
        BackendError: TensorRT-RTX refused something, or built a convolution in another precision.
        ModelError: the heads cannot be compiled.
    """
    import tensorrt_rtx as trt

    targets = [_target(trt, name) for name in compute_capabilities]
    model = prepared(read_model(source), precision, "TensorRT-RTX")
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
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise BackendError(f"TensorRT-RTX cannot build {source.name}: {log.last_error()}")
    seconds = perf_counter() - began
    content = bytes(built)
    precisions = in_plan(content, asked)
    check(asked, precisions, "TensorRT-RTX")
    plan.write_bytes(content)
    return {
        "compute_capabilities": " ".join(compute_capabilities),
        "convolutions": counted(precisions.get(name, "unread") for name in asked),
        "build_seconds": f"{seconds:.2f}",
        **{name: matches[-1] for name, pattern in _MEMORY.items() if (matches := pattern.findall(log.text()))},
    }


def _target(trt: Any, name: str) -> Any:
    known = {member[2:]: value for member, value in trt.ComputeCapability.__members__.items() if member[:2] == "SM"}
    if name.replace(".", "") not in known:
        names = ", ".join(f"{number[:-1]}.{number[-1]}" for number in sorted(known, key=int))
        raise BackendError(f"TensorRT-RTX {trt.__version__} does not know compute capability {name}; it knows {names}")
    return known[name.replace(".", "")]


def main() -> None:
    """Answer the request in ``sys.argv[1]``."""
    answer(
        lambda request, progress: compile_plan(
            Path(request["source"]),
            Path(request["plan"]),
            request["precision"],
            request["compute_capabilities"],
            progress,
        )
    )


if __name__ == "__main__":
    main()
