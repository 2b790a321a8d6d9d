"""Compile one ONNX file to a TensorRT plan, in a process of its own. See ``ssd_edge.engines.nvidia.child``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ssd_edge.engines.nvidia.builder import log_of, monitor_of, parse_failure, prepared, start
from ssd_edge.engines.nvidia.child import serve
from ssd_edge.engines.nvidia.convolutions import asked_for, counted, differences
from ssd_edge.engines.plugins import forms
from ssd_edge.engines.plugins.decode_graph import with_decode
from ssd_edge.engines.tensorrt.configuration import configure, profile
from ssd_edge.engines.tensorrt.dla import check_use, place
from ssd_edge.engines.tensorrt.layers import Layer, layers_of, of_convolutions
from ssd_edge.engines.tensorrt.request import Request
from ssd_edge.engines.tensorrt.timing_cache import begin_timing, end_timing
from ssd_edge.engines.tensorrt.versions import check_release, device_memory_bytes, strongly_typed
from ssd_edge.errors import BackendError
from ssd_edge.graph.files import read_model
from ssd_edge.graph.heads import read_spec
from ssd_edge.graph.refusals import check_qdq
from ssd_edge.progress import Progress

if TYPE_CHECKING:
    import tensorrt


def compile_plan(request: Request, progress: Progress, trt: Any) -> dict[str, str]:
    """Build a plan, check the precision of its convolutions, and write it.

    Args:
        request: source, outputs and options.
        progress: called with (done, total).
        trt: the module ``tensorrt``.

    Returns:
        Facts for the manifest.

    Raises:
        BackendError: TensorRT refused something, put nothing on the DLA that was asked for, or built a convolution in
            another precision although ``strict`` is set.
        ModelError: the heads cannot be built.
    """
    check_release(trt)
    model = read_model(Path(request.source))
    check_qdq(model)
    model = prepared(model, request.precision, "TensorRT", request.max_batch)
    asked = asked_for(model)
    if request.form != "host-launch":
        model = with_decode(model, read_spec(Path(request.source)))
        forms.make_known(request.form, Path(request.kernels).read_bytes() if request.kernels else b"", trt)
    source_name, began = Path(request.source).name, perf_counter()
    log = log_of(trt)
    builder: tensorrt.Builder = start(trt.Builder, log, "TensorRT")
    network = builder.create_network(strongly_typed(trt))
    parser: tensorrt.OnnxParser = trt.OnnxParser(network, log)
    if not parser.parse(model.SerializeToString()):
        raise BackendError(f"TensorRT cannot read {source_name}: {parse_failure(parser, log)}")
    config = builder.create_builder_config()
    configure(trt, config, request)
    profile(builder, network, config, request)
    on_dla = place(trt, builder, network, config, request, asked)
    timing = begin_timing(config, Path(request.timing))
    monitor = monitor_of(trt, progress)  # the configuration does not keep it alive
    config.progress_monitor = monitor
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise BackendError(f"TensorRT cannot build {source_name}: {_reason(log)}")
    seconds, content = perf_counter() - began, bytes(built)
    engine_facts, layers = _inspected(trt, log, content, request)
    precisions = of_convolutions(layers, asked)
    check_use(request, layers)
    read = {name: value for name, value in precisions.items() if value != "DLA"}
    other = differences(asked, read, "TensorRT", request.strict)
    Path(request.plan).write_bytes(content)
    Path(request.layers).write_text(json.dumps([asdict(layer) for layer in layers], indent=1) + "\n")
    return {
        **engine_facts,
        **on_dla,
        **timing,
        **end_timing(config, Path(request.timing)),
        "convolutions": counted(precisions.get(name, "unread") for name in asked),
        **other,
        "layers": counted(layer.precision for layer in layers) or "unread",
        "build_seconds": f"{seconds:.2f}",
    }


def _inspected(trt: Any, log: Any, content: bytes, request: Request) -> tuple[Mapping[str, str], list[Layer]]:
    """Load the built plan, which also proves that it can be loaded, and return facts and layers of the engine."""
    runtime: tensorrt.Runtime = start(trt.Runtime, log, "TensorRT")
    runtime.engine_host_code_allowed = request.version_compatible  # this process has just written that code
    if request.dla_core >= 0:
        runtime.DLA_core = request.dla_core
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise BackendError(f"TensorRT cannot load what it has just built: {log.last_error()}")
    inspector = engine.create_engine_inspector()
    layers = layers_of(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    return {"device_memory_bytes": str(device_memory_bytes(engine))}, layers


def _reason(log: Any) -> str:
    last, lack = str(log.last_error()), log.lack_of_memory()
    if lack is None:
        return last
    said = last if last == lack else f"{last}, after {lack}"
    return f"{said}: end other programs on the GPU, or give a smaller --workspace"


if __name__ == "__main__":
    serve("TensorRT", "tensorrt", compile_plan, Request)
