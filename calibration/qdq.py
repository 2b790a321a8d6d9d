"""Explicit Q/DQ: the one form of INT8 that TensorRT, TensorRT-RTX, OpenVINO and ONNX Runtime all read.

Around each chosen convolution, with s the scales:

    x ──Q(s_x)──DQ(s_x)──▶ Conv ◀──DQ(s_w, axis 0)── int8 weight
                            ▲
                            └── float32 bias

Both grids are symmetric (zero point 0), and weights have a scale for each output channel, as NVIDIA's parser wants.
Weights are stored as int8, a quarter of the size. Convolutions that read the same tensor share its pair; every other
node goes on reading the float tensor, and no convolution's output is quantised unless a chosen one reads it: never
between the network and decode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ssd_edge.calibration.graph import Convolution, initializers, to_array
from ssd_edge.calibration.scales import LARGEST, weight_scales

_ZERO = "ssd_edge_zero_point"


def insert_qdq(model: onnx.ModelProto, chosen: Sequence[Convolution], scales: Mapping[str, float]) -> onnx.ModelProto:
    """A copy of an FP32 model in which the chosen convolutions are INT8.

    Args:
        model: as ``read_heads`` gives it.
        chosen: convolutions of this model.
        scales: of each tensor that a chosen convolution reads, by its name.
    """
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    graph = quantised.graph
    names = {convolution.name for convolution in chosen}
    weights = {convolution.weight for convolution in chosen}
    added = [_tensor(_ZERO, np.zeros((), np.int8))]
    nodes: list[onnx.NodeProto] = []
    for name, tensor in initializers(model).items():
        if name in weights:
            constants, node = _weight(name, to_array(tensor))
            added += constants
            nodes.append(node)
    written: set[str] = set()
    for node in graph.node:
        if node.name in names:
            entry, weight = node.input[:2]
            if entry not in written:
                written.add(entry)
                added.append(_tensor(f"{entry}_scale", np.float32(scales[entry])))
                nodes += _pair(entry)
            node.input[0], node.input[1] = f"{entry}_dequantised", f"{weight}_dequantised"
        nodes.append(node)

    still_read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in still_read]
    result = onnx.GraphProto()
    result.CopyFrom(graph)
    del result.node[:], result.initializer[:]
    result.node.extend(nodes)
    result.initializer.extend([*kept, *added])
    graph.CopyFrom(result)
    return quantised


def _pair(tensor: str) -> list[onnx.NodeProto]:
    """Q and DQ of an activation, with one scale."""
    scale = f"{tensor}_scale"
    quantised, dequantised = f"{tensor}_quantised", f"{tensor}_dequantised"
    return [
        helper.make_node("QuantizeLinear", [tensor, scale, _ZERO], [quantised], f"{tensor}_QuantizeLinear"),
        helper.make_node("DequantizeLinear", [quantised, scale, _ZERO], [dequantised], f"{tensor}_DequantizeLinear"),
    ]


def _weight(name: str, weight: npt.NDArray[np.float32]) -> tuple[list[onnx.TensorProto], onnx.NodeProto]:
    """A weight (O, …) in int8, its scales and zero points (O,), and the DQ that gives it back."""
    scale = weight_scales(weight)
    steps = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    constants = {
        f"{name}_quantised": np.clip(steps, -LARGEST, LARGEST).astype(np.int8),
        f"{name}_scale": scale,
        f"{name}_zero_point": np.zeros(len(scale), np.int8),
    }
    node = helper.make_node(
        "DequantizeLinear", list(constants), [f"{name}_dequantised"], f"{name}_DequantizeLinear", axis=0
    )
    return [_tensor(key, array) for key, array in constants.items()], node


def _tensor(name: str, array: npt.ArrayLike) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)
