"""A view of an ONNX graph with Q/DQ: what is int8, and which pair a tensor comes through."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ssd_edge.graph.operators import ACTIVATIONS, CONVOLUTIONS, MOVES
from ssd_edge.graph.view import GraphView

TAKEN_IN = ACTIVATIONS | {"BatchNormalization"}
"""Kinds of nodes behind a convolution that it takes in when it is compiled."""


class QdqGraph(GraphView):
    """A model's graph, asked where its Q/DQ stand.

    Args:
        model: its weights may stand in other files.
        folder: the folder of those files; a scale that cannot be read from there is unknown.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        super().__init__(model)
        self._folder = str(folder)

    @cached_property
    def convolutions(self) -> list[onnx.NodeProto]:
        """Conv and ConvTranspose nodes."""
        return [node for node in self.nodes if node.op_type in CONVOLUTIONS]

    def values(self, name: str) -> npt.NDArray[np.float64] | None:
        """Return the values of a constant, such as a scale; None where it is computed or cannot be read."""
        tensor = self.constant(name)
        if tensor is None:
            return None
        try:
            return np.asarray(numpy_helper.to_array(tensor, self._folder), np.float64)
        except Exception:  # external, and not there: onnx raises what its file functions raise
            return None

    def dequantise(self, tensor: str) -> onnx.NodeProto | None:
        """Return the DequantizeLinear that a tensor comes from, with nothing computed in between."""
        node = self.maker.get(tensor)
        while node is not None and node.op_type in MOVES:
            node = self.maker.get(node.input[0])
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def quantise(self, dequantise: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return the QuantizeLinear of a pair; None where int8 comes from elsewhere."""
        node = self.maker.get(dequantise.input[0])
        while node is not None and node.op_type in MOVES:
            node = self.maker.get(node.input[0])
        return node if node is not None and node.op_type == "QuantizeLinear" else None

    def of_constant(self, dequantise: onnx.NodeProto) -> bool:
        """Tell whether a DequantizeLinear gives a weight, stored as int8 or as float with a Q behind it."""
        if self.constant(dequantise.input[0]) is not None:
            return True
        quantise = self.quantise(dequantise)
        return quantise is not None and self.constant(quantise.input[0]) is not None

    def is_int8(self, convolution: onnx.NodeProto) -> bool:
        """Tell whether both the input and the weight of a convolution come through a DequantizeLinear."""
        activation, weight = map(self.dequantise, convolution.input[:2])
        return activation is not None and weight is not None and self.of_constant(weight)

    def activated(self, tensor: str) -> str:
        """Return the tensor behind the normalisation and activation that alone read this one."""
        reader = self.only_reader(tensor)
        while reader is not None and reader.op_type in TAKEN_IN and reader.input[0] == tensor:
            tensor = reader.output[0]
            reader = self.only_reader(tensor)
        return tensor

    def all_quantised(self, tensor: str) -> bool:
        """Tell whether nothing but QuantizeLinear reads a tensor."""
        readers = self.readers[tensor]
        return (
            bool(readers)
            and tensor not in self.outputs
            and all(reader.op_type == "QuantizeLinear" for reader in readers)
        )

    def int8_source(self, tensor: str) -> onnx.NodeProto | None:
        """Return the INT8 convolution that makes a tensor, with or without an activation between them."""
        node = self.maker.get(tensor)
        while node is not None and node.op_type in TAKEN_IN:
            node = self.maker.get(node.input[0])
        is_source = node is not None and node.op_type in CONVOLUTIONS and self.is_int8(node)
        return node if is_source else None

    def is_source(self, tensor: str) -> bool:
        """Tell whether an INT8 convolution makes a tensor for one reader alone, with no activation between."""
        node = self.maker.get(tensor)
        if node is None or node.op_type not in CONVOLUTIONS or tensor in self.outputs:
            return False
        return self.is_int8(node) and len(self.readers[tensor]) == 1

    def feeds_convolution(self, tensor: str) -> bool:
        """Tell whether a tensor, or its ReLU, is read through pairs alone, and by a convolution among others."""
        if len(self.readers[tensor]) == 1 and self.readers[tensor][0].op_type == "Relu":
            tensor = self.readers[tensor][0].output[0]
        return self.all_quantised(tensor) and any(
            reader.op_type in CONVOLUTIONS
            for quantise in self.readers[tensor]
            for dequantise in self.readers[quantise.output[0]]
            for reader in self.readers[dequantise.output[0]]
        )
