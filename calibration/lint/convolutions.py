"""Rules about convolutions: which stay in float, and what keeps them from fusing with what follows."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from ssd_edge.calibration.lint.finding import Finding, in_float, said
from ssd_edge.graph.operators import POOLS
from ssd_edge.graph.qdq import TAKEN_IN, QdqGraph
from ssd_edge.graph.view import is_depthwise, name_of


def convolutions(graph: QdqGraph) -> Iterator[Finding]:
    """Find convolutions that stay in float, and say why."""
    for node in graph.convolutions:
        activation, weight = map(graph.dequantise, node.input[:2])
        constant = graph.constant(node.input[1])
        if weight is not None and not graph.of_constant(weight):
            weight = None
        if activation is None and weight is None:
            if graph.maker.get(node.input[1]) is not None and constant is None:
                yield in_float(node, "its weight is computed: only a constant one can be INT8")
            elif is_depthwise(node, constant):
                yield in_float(
                    node, "it has no Q/DQ: a depthwise one gains little, so leave it, or add pairs and measure"
                )
            else:
                yield in_float(
                    node, "it has no Q/DQ: put a pair before its input, and store its weight as int8 with a DQ"
                )
        elif activation is None:
            yield in_float(node, f"only its weight is quantised: put a pair before its input {node.input[0]!r} too")
        elif weight is None:
            yield in_float(
                node, f"only its input is quantised: store its weight {node.input[1]!r} as int8 with a DQ too"
            )
        else:
            yield from _grid_of_convolution(graph, node, activation, weight)


def _grid_of_convolution(
    graph: QdqGraph, node: onnx.NodeProto, activation: onnx.NodeProto, weight: onnx.NodeProto
) -> Iterator[Finding]:
    scale = graph.values(activation.input[1])
    if scale is not None and scale.size > 1:
        yield in_float(node, "its input has a scale for each channel, which is for weights: give activations one scale")
    scale = graph.values(weight.input[1])
    if scale is None:
        return
    axis = next((a.i for a in weight.attribute if a.name == "axis"), 1)
    wanted = 0 if node.op_type == "Conv" else 1
    if scale.size == 1:
        yield Finding(
            "coarse",
            name_of(node),
            f"{node.op_type} {name_of(node)!r} has one scale for its whole weight: a scale for each output channel "
            "loses less, and costs nothing (ONNX Runtime: per_channel=True)",
        )
    elif axis != wanted:
        yield in_float(node, f"its weight has scales along axis {axis}: output channels lie along axis {wanted}")


def around_convolutions(graph: QdqGraph) -> Iterator[Finding]:
    """Find pairs between a convolution and what it would take in, and outputs needed both as float and as int8."""
    for node in graph.convolutions:
        for quantise in graph.readers[node.output[0]]:
            for dequantise in graph.readers[quantise.output[0]] if quantise.op_type == "QuantizeLinear" else ():
                for after in graph.readers[dequantise.output[0]]:
                    if after.op_type in TAKEN_IN:
                        yield Finding(
                            "blocks fusion",
                            name_of(quantise),
                            f"the pair of QuantizeLinear {name_of(quantise)!r} stands between {said(node)} and "
                            f"{said(after)}, which therefore do not fuse: move it behind the latter",
                        )
        made = graph.activated(node.output[0])
        if not graph.is_int8(node) or all(reader.op_type != "QuantizeLinear" for reader in graph.readers[made]):
            continue
        for reader in graph.readers[made]:
            if reader.op_type in POOLS | {"Concat"} and graph.all_quantised(reader.output[0]):
                yield Finding(
                    "blocks fusion",
                    name_of(reader),
                    f"{said(reader)} reads {made!r} in float, so that {said(node)} has to write it both as float and "
                    "as int8: let it read through the pair",
                )
