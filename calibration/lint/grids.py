"""Rules about single pairs: operators, scales, zero points and types."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx

from ssd_edge.calibration.lint.finding import Finding, said
from ssd_edge.graph.operators import QDQ
from ssd_edge.graph.qdq import QdqGraph
from ssd_edge.graph.refusals import (
    COMPUTED_SCALE,
    INT32_BIAS,
    OTHER_TYPE,
    UINT8,
    UINT8_WEIGHT,
    ZERO_POINT,
    refused_grids,
    stored_type,
)
from ssd_edge.graph.view import name_of


def operators(graph: QdqGraph) -> Iterator[Finding]:
    """Find operators of ONNX Runtime's QOperator format."""
    for node in graph.nodes:
        if is_qoperator(node):
            yield Finding(
                "refused",
                name_of(node),
                f"{node.op_type} {name_of(node)!r} is of ONNX Runtime's QOperator format, and NVIDIA's compilers read "
                "Q/DQ only: quantise again with quant_format=QuantFormat.QDQ",
            )


_ADVICE = {
    COMPUTED_SCALE: "has a scale that is computed at run time: quantise with constant ones",
    INT32_BIAS: "stores a bias as int32, which NVIDIA's parser does not take: leave biases in float (ONNX Runtime: "
    "extra_options={{'QuantizeBias': False}})",
    ZERO_POINT: "has the zero point {zero:g}, and NVIDIA takes 0 only: quantise symmetrically to int8 (ONNX Runtime: "
    "QInt8 with ActivationSymmetric and WeightSymmetric)",
    UINT8_WEIGHT: "stores a weight as uint8, which NVIDIA's parser does not take: quantise weights to int8",
    UINT8: "says uint8, which NVIDIA's compilers take for int8, so that the upper half of its range is cut: quantise "
    "to int8, with half the steps",
    OTHER_TYPE: "is of {kind}: INT8 needs int8, so quantise to that",
}


def grids(graph: QdqGraph) -> Iterator[Finding]:
    """Check scales, zero points and types, one Q or DQ at a time."""
    for node in graph.nodes:
        if node.op_type not in QDQ or (node.op_type == "DequantizeLinear" and graph.quantise(node) is not None):
            continue  # a pair is spoken for by its Q
        scale = graph.values(node.input[1])
        if scale is not None and not (np.isfinite(scale) & (scale > 0)).all():
            yield Finding(
                "no scale",
                name_of(node),
                f"{said(node)} has a scale that is not above 0 and finite: calibrate again, with images that bring "
                "its tensor to life",
            )
    for node, cause in refused_grids(graph):
        zero = _first_not_zero(graph.values(node.input[2])) if cause == ZERO_POINT else 0.0
        advice = _ADVICE[cause].format(zero=zero, kind=stored_type(graph, node).lower())
        yield Finding("read otherwise" if cause == UINT8 else "refused", name_of(node), f"{said(node)} {advice}")


def pairs(graph: QdqGraph) -> Iterator[Finding]:
    """Check that Q and DQ of a pair have one scale, and all pairs on one tensor too."""
    scales: dict[str, dict[float, str]] = {}
    for node in graph.nodes:
        quantise = graph.quantise(node) if node.op_type == "DequantizeLinear" else None
        if quantise is not None:
            first, second = graph.values(quantise.input[1]), graph.values(node.input[1])
            if first is not None and second is not None and not np.array_equal(first, second):
                yield Finding(
                    "read otherwise",
                    name_of(node),
                    f"DequantizeLinear {name_of(node)!r} has another scale than QuantizeLinear {name_of(quantise)!r} "
                    "before it, so values are multiplied: give both the same",
                )
        if node.op_type == "QuantizeLinear" and graph.constant(node.input[0]) is None:
            scale = graph.values(node.input[1])
            if scale is not None and scale.size == 1:
                scales.setdefault(node.input[0], {}).setdefault(float(scale.reshape(())), name_of(node))
    for tensor, names in scales.items():
        if len(names) > 1:
            yield Finding(
                "blocks fusion",
                list(names.values())[1],
                f"tensor {tensor!r} is quantised with {len(names)} scales, by "
                f"{' and '.join(map(repr, names.values()))}: what makes it writes one int8 form only, so give all its "
                "pairs one scale",
            )


def is_qoperator(node: onnx.NodeProto) -> bool:
    """Tell whether a node is of ONNX Runtime's QOperator format."""
    return node.op_type.startswith("QLinear") or node.op_type in {"ConvInteger", "MatMulInteger", "QGemm"}


def is_quantised_convolution(node: onnx.NodeProto) -> bool:
    """Tell whether a node is a convolution of that format."""
    return node.op_type in {"QLinearConv", "ConvInteger"}


def _first_not_zero(array: npt.NDArray[np.float64] | None) -> float:
    return 0.0 if array is None else float(array[array != 0].reshape(-1)[0])
