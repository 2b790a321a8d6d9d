"""Explicit Q/DQ: the one form of INT8 that TensorRT, TensorRT-RTX, OpenVINO and ONNX Runtime all read.

Each chosen convolution gets, with s the scales:

    x ──Q(s_x)──DQ(s_x)──▶ Conv ◀──DQ(s_w, axis 0)── int8 weight
                            ▲
                            └── float32 bias

Both grids are symmetric (zero point 0), and weights have a scale for each output channel, as NVIDIA's parser requires.
Weights are stored as int8, a quarter of the size. All nodes that read a tensor through a pair share one pair; every
other node still reads the float tensor. The module ``placement`` decides where pairs are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ssd_edge.calibration.network.placement import Placement
from ssd_edge.calibration.scales.grid import rounded, weight_scales
from ssd_edge.graph.fp32 import initializers, to_array
from ssd_edge.graph.view import drop_unread_constants

_ZERO = "ssd_edge_zero_point"


class Int8Weight(NamedTuple):
    """A quantised weight: steps (O, …) int8, and the size of a step for each output channel (O,) float32."""

    steps: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]


def quantised_weights(model: onnx.ModelProto, placement: Placement) -> dict[str, Int8Weight]:
    """Quantise the weights of the convolutions that become INT8, by name; each value goes to its nearest step."""
    weights = initializers(model)
    int8_weights = {}
    for name in dict.fromkeys(convolution.weight for convolution in placement.convolutions):
        weight = to_array(weights[name])
        scale = weight_scales(weight)
        int8_weights[name] = Int8Weight(rounded(weight, scale), scale)
    return int8_weights


def insert_qdq(
    model: onnx.ModelProto, placement: Placement, scales: Mapping[str, float], weights: Mapping[str, Int8Weight]
) -> onnx.ModelProto:
    """Return a copy of an FP32 model with the pairs of a placement.

    Args:
        model: the FP32 model, as ``read_heads`` returns it.
        placement: the places of pairs in this model.
        scales: scale of each tensor that has a pair, by its name.
        weights: quantised weight of each convolution that becomes INT8, by the name of its weight.
    """
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    graph = quantised.graph
    added = [_tensor(_ZERO, np.zeros((), np.int8))]
    added += [_tensor(f"{tensor}_scale", np.float32(scales[tensor])) for tensor in placement.readers]
    nodes: list[onnx.NodeProto] = []
    for name, weight in weights.items():
        constants, node = _weight(name, weight)
        added += constants
        nodes.append(node)
    through = {use: tensor for tensor, uses in placement.readers.items() for use in uses}
    weight_of = {convolution.name: convolution.weight for convolution in placement.convolutions}
    written: set[str] = set()

    def write(kind: str, tensor: str, given: str, made: str) -> str:
        if made not in written:
            written.add(made)
            inputs = [given, f"{tensor}_scale", _ZERO]
            nodes.append(helper.make_node(kind, inputs, [made], f"{tensor}_{kind}"))
        return made

    for node in graph.node:
        for position in range(len(node.input)):
            tensor = through.get((node.name, position))
            if tensor is None:
                continue
            node.input[position] = write("QuantizeLinear", tensor, tensor, f"{tensor}_quantised")
            if node.name not in placement.int8_nodes:
                node.input[position] = write("DequantizeLinear", tensor, f"{tensor}_quantised", f"{tensor}_dequantised")
        if node.name in placement.int8_nodes:
            node.output[0] = f"{node.output[0]}_quantised"
            written.add(node.output[0])
        if node.name in weight_of:
            node.input[1] = f"{weight_of[node.name]}_dequantised"
        nodes.append(node)

    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(added)
    drop_unread_constants(quantised)
    return quantised


def _weight(name: str, weight: Int8Weight) -> tuple[list[onnx.TensorProto], onnx.NodeProto]:
    """Return a weight's constants, with its zero points (O,), and the DQ that turns it back into float."""
    constants: dict[str, npt.NDArray[np.generic]] = {
        f"{name}_quantised": weight.steps,
        f"{name}_scale": weight.scale,
        f"{name}_zero_point": np.zeros(len(weight.scale), np.int8),
    }
    node = helper.make_node(
        "DequantizeLinear", list(constants), [f"{name}_dequantised"], f"{name}_DequantizeLinear", axis=0
    )
    return [_tensor(key, array) for key, array in constants.items()], node


def _tensor(name: str, array: npt.ArrayLike) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)
