"""Any ONNX graph, asked where its Q/DQ stand: what makes a tensor, what reads it, what is a constant, what is int8."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

ACTIVATIONS = frozenset({"Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Relu", "Sigmoid", "Tanh"})
"""What a convolution takes in."""

NORMALISATIONS = frozenset({"BatchNormalization"})

# What moves values and does not change them: int8 passes through.
_MOVES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


class QdqGraph:
    """A model's graph; constants are weights, and what ``Constant`` nodes give.

    Args:
        model: whose weights may stand in other files.
        folder: where those lie; a scale that cannot be read from there is unknown.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        self.nodes = list(model.graph.node)
        self.outputs = [value.name for value in model.graph.output]
        self.maker = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.input)):
                self.readers[name].append(node)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self._constants[node.output[0]] = node.attribute[0].t
        self._folder = str(folder)

    @cached_property
    def convolutions(self) -> list[onnx.NodeProto]:
        """Conv and ConvTranspose nodes."""
        return [node for node in self.nodes if node.op_type in {"Conv", "ConvTranspose"}]

    def constant(self, name: str) -> onnx.TensorProto | None:
        """A constant, through Identity; None for what is computed."""
        while name in self.maker and self.maker[name].op_type == "Identity":
            name = self.maker[name].input[0]
        return self._constants.get(name)

    def values(self, name: str) -> npt.NDArray[np.float64] | None:
        """Of a constant, such as a scale or a zero point; None where it is computed or cannot be read."""
        tensor = self.constant(name)
        if tensor is None:
            return None
        try:
            return np.asarray(numpy_helper.to_array(tensor, self._folder), np.float64)
        except Exception:  # external, and not there: onnx raises what its file functions raise
            return None

    def dequantise(self, tensor: str) -> onnx.NodeProto | None:
        """The DequantizeLinear that a tensor comes from, with nothing computed in between."""
        node = self.maker.get(tensor)
        while node is not None and node.op_type in _MOVES:
            node = self.maker.get(node.input[0])
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def quantise(self, dequantise: onnx.NodeProto) -> onnx.NodeProto | None:
        """The QuantizeLinear of a pair; None where int8 comes from elsewhere."""
        node = self.maker.get(dequantise.input[0])
        while node is not None and node.op_type in _MOVES:
            node = self.maker.get(node.input[0])
        return node if node is not None and node.op_type == "QuantizeLinear" else None

    def of_constant(self, dequantise: onnx.NodeProto) -> bool:
        """Whether what a DequantizeLinear gives is a weight, stored as int8 or as float with a Q behind it."""
        if self.constant(dequantise.input[0]) is not None:
            return True
        quantise = self.quantise(dequantise)
        return quantise is not None and self.constant(quantise.input[0]) is not None

    def is_int8(self, convolution: onnx.NodeProto) -> bool:
        """Whether both the input and the weight of a convolution come through a DequantizeLinear."""
        activation, weight = map(self.dequantise, convolution.input[:2])
        return activation is not None and weight is not None and self.of_constant(weight)

    def activated(self, tensor: str) -> str:
        """A tensor behind the normalisation and activation that alone read it."""
        while tensor not in self.outputs and len(self.readers[tensor]) == 1:
            (reader,) = self.readers[tensor]
            if reader.op_type not in ACTIVATIONS | NORMALISATIONS or reader.input[0] != tensor:
                break
            tensor = reader.output[0]
        return tensor

    def all_quantised(self, tensor: str) -> bool:
        """Whether nothing but QuantizeLinear reads a tensor."""
        readers = self.readers[tensor]
        return (
            bool(readers)
            and tensor not in self.outputs
            and all(reader.op_type == "QuantizeLinear" for reader in readers)
        )

    def int8_source(self, tensor: str) -> onnx.NodeProto | None:
        """The INT8 convolution that makes a tensor, an activation between them or not."""
        node = self.maker.get(tensor)
        while node is not None and node.op_type in ACTIVATIONS | NORMALISATIONS:
            node = self.maker.get(node.input[0])
        is_source = node is not None and node.op_type in {"Conv", "ConvTranspose"} and self.is_int8(node)
        return node if is_source else None

    def is_source(self, tensor: str) -> bool:
        """Whether an INT8 convolution makes a tensor for one reader alone, with no activation between."""
        node = self.maker.get(tensor)
        if node is None or node.op_type not in {"Conv", "ConvTranspose"} or tensor in self.outputs:
            return False
        return self.is_int8(node) and len(self.readers[tensor]) == 1

    def feeds_convolution(self, tensor: str) -> bool:
        """Whether a tensor, or its ReLU, is read through pairs alone, and by a convolution among others."""
        if len(self.readers[tensor]) == 1 and self.readers[tensor][0].op_type == "Relu":
            tensor = self.readers[tensor][0].output[0]
        return self.all_quantised(tensor) and any(
            reader.op_type in {"Conv", "ConvTranspose"}
            for quantise in self.readers[tensor]
            for dequantise in self.readers[quantise.output[0]]
            for reader in self.readers[dequantise.output[0]]
        )


def name_of(node: onnx.NodeProto) -> str:
    """A node's name or, where it has none, what it makes."""
    return str(node.name or node.output[0])


def is_depthwise(node: onnx.NodeProto, weight: onnx.TensorProto | None) -> bool:
    """Whether each channel of a Conv reads one input channel only."""
    group = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "group"), 1)
    return bool(
        node.op_type == "Conv" and group > 1 and (weight is None or len(weight.dims) < 2 or weight.dims[1] == 1)
    )
