"""The builder's own process: one ONNX file in, one TensorRT plan out. See ``ssd_edge.engines.nvidia.child``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import onnx

from ssd_edge.engines.base import Progress
from ssd_edge.engines.nvidia.builder import log_of, monitor_of, parse_failure, prepared, start
from ssd_edge.engines.nvidia.child import answer
from ssd_edge.engines.nvidia.convolutions import asked_for, check, counted
from ssd_edge.engines.plugins import forms
from ssd_edge.engines.plugins.decode_graph import with_decode
from ssd_edge.engines.tensorrt.configuration import configure, profile
from ssd_edge.engines.tensorrt.dla import place
from ssd_edge.engines.tensorrt.layers import Layer, layers_of, of_convolutions
from ssd_edge.engines.tensorrt.request import Request
from ssd_edge.engines.tensorrt.timing_cache import begin_timing, end_timing
from ssd_edge.engines.tensorrt.versions import check_release, device_memory_bytes, strongly_typed
from ssd_edge.errors import BackendError
from ssd_edge.graph.refusals import check_qdq
from ssd_edge.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import tensorrt


def compile_plan(request: Request, progress: Progress, trt: Any) -> dict[str, str]:
    """Build, compare the engine with what was asked for, and write it.

    Args:
        request: what.
        progress: called with (done, total).
        trt: the module ``tensorrt``.

    Returns:
        Facts for the manifest.

    Raises:
        BackendError: TensorRT refused something, or made another precision.
        ModelError: the heads cannot be built.
    """
    check_release(trt)
    model = onnx.load(request.source)
    check_qdq(model)
    model = prepared(model, request.precision, "TensorRT", request.max_batch)
    asked = asked_for(model)
    if request.form != "host-launch":
        model = with_decode(model, _spec_of(model))
        forms.make_known(request.form, Path(request.kernels).read_bytes() if request.kernels else b"", trt)
    name, began = Path(request.source).name, perf_counter()
    log = log_of(trt)
    builder: tensorrt.Builder = start(trt.Builder, log, "TensorRT")
    network = builder.create_network(strongly_typed(trt))
    parser: tensorrt.OnnxParser = trt.OnnxParser(network, log)
    if not parser.parse(model.SerializeToString()):
        raise BackendError(f"TensorRT cannot read {name}: {parse_failure(parser, log)}")
    config = builder.create_builder_config()
    configure(trt, config, request)
    profile(builder, network, config, request)
    on_dla = place(trt, builder, network, config, request)
    timing = begin_timing(config, Path(request.timing))
    monitor = monitor_of(trt, progress)  # the configuration does not keep it alive
    config.progress_monitor = monitor
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise BackendError(f"TensorRT cannot build {name}: {_reason(log)}")
    seconds, content = perf_counter() - began, bytes(built)
    engine_facts, layers = _inspected(trt, log, content, request)
    found = of_convolutions(layers, asked)
    check(asked, {key: value for key, value in found.items() if value != "DLA"}, "TensorRT")
    Path(request.plan).write_bytes(content)
    Path(request.layers).write_text(json.dumps([asdict(layer) for layer in layers], indent=1) + "\n")
    return {
        **engine_facts,
        **on_dla,
        **timing,
        **end_timing(config, Path(request.timing)),
        "convolutions": counted(found.get(one, "unread") for one in asked),
        "layers": counted(layer.precision for layer in layers) or "unread",
        "build_seconds": f"{seconds:.2f}",
    }


def _spec_of(model: onnx.ModelProto) -> ModelSpec:
    text = next(entry.value for entry in model.metadata_props if entry.key == METADATA_KEY)
    return ModelSpec.from_text(text)


def _inspected(trt: Any, log: Any, content: bytes, request: Request) -> tuple[Mapping[str, str], list[Layer]]:
    """Facts and layers of the engine, which is loaded for it: what cannot be loaded here is no plan."""
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
    return f"{said}: close what else uses the GPU, or give a smaller --workspace"


def main() -> None:
    """Answer the request in the first argument."""

    def work(request: dict[str, Any], progress: Progress) -> dict[str, str]:
        try:
            import tensorrt
        except ImportError as error:
            raise BackendError(f"TensorRT cannot be loaded: {error}") from None
        return compile_plan(Request(**request), progress, tensorrt)

    answer(work)


if __name__ == "__main__":
    main()
