"""heads.onnx → NAME.decode.onnx: the same network with its decode behind it, as a file for other tools."""

from __future__ import annotations

from pathlib import Path

import onnx

from ssd_edge.engines.onnxruntime import read_spec
from ssd_edge.engines.plugins.decode_graph import with_decode
from ssd_edge.errors import ModelError
from ssd_edge.graph.half import to_half
from ssd_edge.graph.heads import write_heads
from ssd_edge.spec import ModelSpec


def write_with_decode(heads: Path, output: Path, half: bool = False) -> tuple[ModelSpec, dict[str, list[int | str]]]:
    """Write it, whole or not at all.

    Args:
        heads: as ``ssd-edge export`` writes them, FP32 or INT8.
        output: the file to write.
        half: make heads FP16 first; the outputs' types are the same.

    Returns:
        The spec, and the outputs' shapes by name.

    Raises:
        ModelError: no heads, or they have their decode already, or cannot be FP16.
        BackendError: the model is beyond what the kernels hold.
    """
    spec = read_spec(heads)
    if output.resolve() == heads.resolve():
        raise ModelError(f"{output} is the heads' own file: give another with --output")
    network = onnx.load(str(heads))
    model = with_decode(to_half(network) if half else network, spec)
    write_heads(model, spec, output)
    return spec, {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.output
    }
