"""Rewriting 8-bit weights to 7 bits: −63 … 63, with steps that are about twice (127/63 times) as large.

This is for processors without VNNI or AMX. They add the products of 8-bit activations (0 … 255) and weights in pairs in
16 bits, which hold up to 32767: two products of 255 · 127 do not fit, two of 255 · 63 do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ssd_edge.graph.view import GraphView, drop_unread_constants

LARGEST = 63
_LARGEST_OF_8_BITS = 127

Steps = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


def rerounded(steps: Steps, scale: Floats, weight: Floats | None = None) -> tuple[Steps, Floats]:
    """Round a weight to the coarser grid.

    Args:
        steps: (O, …) int8, −127 … 127.
        scale: (O,) or () float32, the size of a step, by output channel or for all.
        weight: (O, …) float32, the weight that was rounded to these steps, if it is known: it is then rounded only
            once, not twice.

    Returns:
        Steps (O, …) in −63 … 63, and their size, shaped as ``scale``.
    """
    coarser = (scale * np.float32(_LARGEST_OF_8_BITS / LARGEST)).astype(np.float32)
    by_channel = coarser.reshape(-1, *[1] * (steps.ndim - 1)) if coarser.ndim else coarser
    exact = steps * np.float32(LARGEST / _LARGEST_OF_8_BITS) if weight is None else weight / by_channel
    return np.clip(np.rint(exact), -LARGEST, LARGEST).astype(np.int8), coarser


def with_seven_bits(model: onnx.ModelProto, parent: Mapping[str, Floats] | None = None) -> tuple[int, int]:
    """Rewrite all INT8 weights of a model to 7 bits, in place.

    A weight is an int8 constant before a DequantizeLinear with zero points of 0, or a float constant before a
    QuantizeLinear and such a DequantizeLinear. Others, such as unsigned ones, stay unchanged.

    Args:
        model: heads with Q/DQ.
        parent: weights of the FP32 heads that the model was made from, by name, see ``parent_weights``.

    Returns:
        Number of weights rewritten to 7 bits, and number of these that were rounded from the parent's.
    """
    graph = _Graph(model)
    number = num_from_parent = 0
    for node in list(model.graph.node):
        if node.op_type != "DequantizeLinear" or not graph.is_weight(node):
            continue
        number += 1
        stored = graph.constants.get(node.input[0])
        if stored is None:  # a float weight before a Q: a larger step is enough
            quantise = graph.maker[node.input[0]]
            coarser = np.asarray(graph.array(node.input[1]), np.float32) * np.float32(_LARGEST_OF_8_BITS / LARGEST)
            for user in (quantise, node):
                user.input[1] = graph.add(f"{node.input[0]}_7bit_scale", coarser.astype(np.float32))
            continue
        steps = np.asarray(graph.array(node.input[0]), np.int8)
        scale = np.asarray(graph.array(node.input[1]), np.float32)
        weight = _parent_weight(parent, node.input[0], steps, scale)
        num_from_parent += weight is not None
        new_steps, new_scale = rerounded(steps, scale, weight)
        node.input[1] = graph.add(f"{node.input[0]}_7bit_scale", new_scale)
        node.input[0] = graph.add(f"{node.input[0]}_7bit", new_steps)
    if number:
        graph.free_biases()
        graph.drop_unread()
    return number, num_from_parent


def parent_weights(model: onnx.ModelProto) -> dict[str, Floats]:
    """Return the weights of FP32 heads from ``fp32.read_heads``, by the name that quantised ones are stored under."""
    return {
        f"{tensor.name}_quantised": np.asarray(numpy_helper.to_array(tensor), np.float32)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }


def _parent_weight(parent: Mapping[str, Floats] | None, name: str, steps: Steps, scale: Floats) -> Floats | None:
    """Return the parent's weight if it was rounded to these steps; None for an equalised or learned weight."""
    weight = (parent or {}).get(name)
    if weight is None or weight.shape != steps.shape:
        return None
    step = scale.reshape(-1, *[1] * (steps.ndim - 1)) if scale.ndim else scale
    return weight if bool(np.all(np.abs(weight - steps * step) <= 0.501 * step)) else None


class _Graph(GraphView):
    """A model whose constants are added to."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__(model)
        self._model = model

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return the values of a constant."""
        return np.asarray(numpy_helper.to_array(self.constants[name]))

    def add(self, name: str, array: npt.NDArray[Any]) -> str:
        """Add a constant unless one of that name exists, and return the name."""
        if name not in self.constants:
            tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
            self._model.graph.initializer.append(tensor)
            self.constants[name] = tensor
        return name

    def is_weight(self, node: onnx.NodeProto) -> bool:
        """Whether a DequantizeLinear's output is a signed weight with zero points of 0 and more than 7 bits."""
        scale, zero = node.input[1], node.input[2] if len(node.input) > 2 else ""
        if scale not in self.constants or (zero and zero not in self.constants):
            return False
        if zero and (self.array(zero).dtype != np.int8 or np.any(self.array(zero) != 0)):
            return False
        if node.input[0] in self.constants:
            steps = self.array(node.input[0])
            return steps.dtype == np.int8 and bool(np.any(np.abs(steps.astype(np.int16)) > LARGEST))
        quantise = self.maker.get(node.input[0])
        return quantise is not None and quantise.op_type == "QuantizeLinear" and quantise.input[0] in self.constants

    def free_biases(self) -> None:
        """Turn int32 biases into floats: their step is input step times weight step, and the latter has changed."""
        for node in self._model.graph.node:
            dequantise = self.maker.get(node.input[2]) if node.op_type == "Conv" and len(node.input) > 2 else None
            if dequantise is None or dequantise.op_type != "DequantizeLinear":
                continue
            if all(name in self.constants for name in dequantise.input[:2]):
                bias = self.array(dequantise.input[0]) * self.array(dequantise.input[1]).astype(np.float32)
                node.input[2] = self.add(f"{node.input[2]}_float", bias.astype(np.float32))

    def drop_unread(self) -> None:
        """Remove constants and DequantizeLinear nodes that nothing reads any more."""
        graph = self._model.graph
        outputs = {value.name for value in graph.output}
        read = {name for node in graph.node for name in node.input} | outputs
        nodes = [n for n in graph.node if n.op_type != "DequantizeLinear" or not read.isdisjoint(n.output)]
        del graph.node[:]
        graph.node.extend(nodes)
        drop_unread_constants(self._model)
