"""Find the Q/DQ nodes that TensorRT would refuse, by name, before its parser reads the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssd_edge.errors import ModelError

if TYPE_CHECKING:
    import onnx


def check_qdq(model: onnx.ModelProto) -> None:
    """Refuse zero points and quantised biases.

    Raises:
        ModelError: a Q or DQ node has a zero point other than 0, or unsigned values; or a bias is int32.
    """
    from onnx import TensorProto, numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], one.t) for one in node.attribute if one.name == "value")
    hint = "calibrate the FP32 heads with ssd-edge calibrate, or make the other tool's INT8 symmetric"
    for node in model.graph.node:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        name = node.name or node.output[0]
        values = constants.get(node.input[0])
        if values is not None and values.data_type == TensorProto.INT32:
            raise ModelError(f"node {name!r} dequantises a bias of int32, which TensorRT does not take: {hint}")
        zero = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if zero is None:
            continue
        if zero.data_type == TensorProto.UINT8:
            raise ModelError(f"node {name!r} has values of uint8, and TensorRT takes int8 only: {hint}")
        if numpy_helper.to_array(zero).any():
            raise ModelError(f"node {name!r} has a zero point that is not 0, which TensorRT does not take: {hint}")
