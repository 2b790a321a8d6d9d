"""What NVIDIA's ONNX parser refuses of Q/DQ, or reads as something else: one rule for every file, whoever wrote it.

Seen with TensorRT-RTX 1.7.1's builder, whose parser is TensorRT's (tests/calibration/lint/test_lint.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from ssd_edge.errors import ModelError
from ssd_edge.graph.operators import QDQ
from ssd_edge.graph.qdq import QdqGraph
from ssd_edge.graph.view import name_of

COMPUTED_SCALE, INT32_BIAS, ZERO_POINT = "computed scale", "int32 bias", "zero point"
UINT8_WEIGHT, UINT8, OTHER_TYPE = "uint8 weight", "uint8", "other type"

_REASONS = {
    COMPUTED_SCALE: "has a scale that is computed at run time, and TensorRT takes constants only",
    INT32_BIAS: "dequantises a bias of int32, which TensorRT does not take",
    ZERO_POINT: "has a zero point that is not 0, which TensorRT does not take",
    UINT8_WEIGHT: "has values of uint8, and TensorRT takes int8 only",
    UINT8: "has values of uint8, and TensorRT takes int8 only",
    OTHER_TYPE: "has values of another type than int8, and TensorRT takes int8 only",
}


def refused_grids(graph: QdqGraph) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Yield each Q or DQ that the parser refuses or reads otherwise, with the cause: the first that applies.

    A pair is spoken for by its Q. ``UINT8`` is not refused: the compilers take such a grid for int8.
    """
    for node in graph.nodes:
        if node.op_type not in QDQ or (node.op_type == "DequantizeLinear" and graph.quantise(node) is not None):
            continue
        if graph.values(node.input[1]) is None:
            yield node, COMPUTED_SCALE
        zero = graph.values(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        kind = stored_type(graph, node)
        if kind == "INT32":
            yield node, INT32_BIAS
        elif zero is not None and zero.any():
            yield node, ZERO_POINT
        elif kind == "UINT8":
            yield node, UINT8 if graph.constant(node.input[0]) is None else UINT8_WEIGHT
        elif kind not in {"INT8", ""}:
            yield node, OTHER_TYPE


def check_qdq(model: onnx.ModelProto) -> None:
    """Refuse a file before NVIDIA's parser meets it, with the name of the node.

    Raises:
        ModelError: the parser refuses a Q or DQ, or reads it as something else.
    """
    for node, cause in refused_grids(QdqGraph(model, Path())):
        raise ModelError(
            f"node {name_of(node)!r} {_REASONS[cause]}: calibrate the FP32 heads with ssd-edge calibrate, or make the "
            "other tool's INT8 symmetric"
        )


def stored_type(graph: QdqGraph, node: onnx.NodeProto) -> str:
    """Return the name of the type on the quantised side of a Q or DQ; empty where the file does not say.

    It is the type of the zero point or of a stored weight; without either, ONNX's default for a Q is uint8.
    """
    zero = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    stored = graph.constant(node.input[0]) if node.op_type == "DequantizeLinear" else None
    known = stored or zero
    if known is not None:
        return str(onnx.TensorProto.DataType.Name(known.data_type))
    if len(node.input) > 2 and node.input[2]:
        return ""
    return "UINT8" if node.op_type == "QuantizeLinear" and not _output_type(node) else ""


def _output_type(node: onnx.NodeProto) -> int:
    """Return the attribute output_dtype, of opset 21; 0 where there is none."""
    return next((int(a.i) for a in node.attribute if a.name == "output_dtype"), 0)
