"""Write NAME.decode.onnx, the network of heads.onnx followed by its decode, for other tools."""

from __future__ import annotations

from pathlib import Path

from ssd_edge.engines.plugins.decode_graph import with_decode
from ssd_edge.errors import ModelError
from ssd_edge.graph.files import read_model
from ssd_edge.graph.half import to_half
from ssd_edge.graph.heads import read_spec, write_heads
from ssd_edge.spec import ModelSpec


def write_with_decode(heads: Path, output: Path, half: bool = False) -> tuple[ModelSpec, dict[str, list[int | str]]]:
    """Write the network with its decode, complete or not at all.

    Args:
        heads: heads as ``ssd-edge export`` writes them, FP32 or INT8.
        output: the file to write.
        half: convert the heads to FP16 first; the outputs' types stay the same.

    Returns:
        The spec, and the outputs' shapes by name.

    Raises:
        ModelError: the file holds no heads, has its decode already, or cannot be converted to FP16.
        BackendError: the model is beyond the kernels' limits.
    """
    spec = read_spec(heads)
    if output.resolve() == heads.resolve():
        raise ModelError(f"{output} is the heads' own file: give another with --output")
    network = read_model(heads)
    model = with_decode(to_half(network) if half else network, spec)
    write_heads(model, spec, output)
    return spec, {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.output
    }
