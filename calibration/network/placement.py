"""Placement of Q/DQ pairs: at the inputs of the convolutions that become INT8, and where one more pair lets NVIDIA's
compiler fuse such a convolution with its neighbours.

A convolution fuses with the activation and the Q that follow, and then writes int8, if nothing between them has to be
float. So these places get pairs too, according to "Q/DQ Layer-Placement Recommendations" in NVIDIA's TensorRT
documentation, "Working with Quantized Types":

    residual add     reads its skip through a pair, the convolution's own output directly: Conv + Add + Q fuse
    max pooling      reads its input through a pair of its output's scale: int8 passes on unchanged
    average pooling  reads its input through a pair with its own scale, if nothing needs the input in float
    concatenation    joins int8 inputs, all with the scale of its result, which has a DQ only

Such a place gets a pair only if all readers of its result read that through a pair too. So no pair is ever between the
last convolutions and the network's outputs: decode gets their float results.

A concatenation between pairs, DQ … Concat … Q, means the same as one that joins int8. But there OpenVINO (2026.4) loses
the zero point that it adds to int8 to make it unsigned, and the next convolution is off by a quarter of its range.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import onnx

from ssd_edge.graph.fp32 import Convolution
from ssd_edge.graph.operators import ACTIVATIONS
from ssd_edge.graph.view import GraphView

Use = tuple[str, int]
"""An input of a node: (its name, position)."""


@dataclass(frozen=True)
class Placement:
    """The places of all Q/DQ pairs.

    Attributes:
        convolutions: the convolutions that become INT8, in the graph's order.
        readers: for each tensor with a pair, the inputs that read it through the pair; in the graph's order.
        int8_nodes: names of the nodes that read and write int8 itself, with no DQ before and no Q behind them.
        scale_of: for each tensor with a pair, the tensor whose histogram gives the scale: itself, or one that shares
            its scale.
    """

    convolutions: tuple[Convolution, ...]
    readers: Mapping[str, tuple[Use, ...]]
    int8_nodes: frozenset[str]
    scale_of: Mapping[str, str]

    @property
    def observed(self) -> tuple[str, ...]:
        """The tensors whose histograms are needed."""
        return tuple(dict.fromkeys(self.scale_of.values()))


def place(model: onnx.ModelProto, chosen: Iterable[Convolution]) -> Placement:
    """Place pairs for these convolutions, and for the nodes between them."""
    chosen = tuple(chosen)
    pairs = _Pairs(model, {convolution.name for convolution in chosen})
    previous_count = -1
    while previous_count != pairs.count:  # a pair behind a node may allow one before it
        previous_count = pairs.count
        for node in reversed(model.graph.node):
            if node.op_type in _RULES:
                _RULES[node.op_type](node, pairs)
    return pairs.placement(chosen)


class _Pairs:
    """The pairs placed so far, and the questions about the graph that the rules ask."""

    def __init__(self, model: onnx.ModelProto, chosen: set[str]) -> None:
        self._view = GraphView(model)
        self._order = {node.name: k for k, node in enumerate(model.graph.node)}
        self._chosen = chosen
        self._uses: dict[str, list[Use]] = defaultdict(list)
        self._through: dict[str, set[Use]] = defaultdict(set)
        self._shared: dict[str, str] = {}
        self._int8_nodes: set[str] = set()
        for node in model.graph.node:
            for position, name in enumerate(node.input):
                self._uses[name].append((node.name, position))
            if node.name in chosen:
                self.add(node, 0)

    @property
    def count(self) -> int:
        """Number of node inputs that are read through a pair."""
        return sum(map(len, self._through.values()))

    def add(self, node: onnx.NodeProto, position: int) -> None:
        """Let an input be read through a pair."""
        self._through[node.input[position]].add((node.name, position))

    def share(self, one: str, other: str) -> None:
        """Let two tensors have one scale."""
        one, other = self._root(one), self._root(other)
        if one != other:
            self._shared[one] = other

    def join(self, node: onnx.NodeProto) -> None:
        """Let a node work on int8, with one scale for all its inputs and its output."""
        self._int8_nodes.add(node.name)
        for position, name in enumerate(node.input):
            self.add(node, position)
            self.share(name, node.output[0])

    def has(self, tensor: str) -> bool:
        """Whether a tensor has a pair."""
        return tensor in self._through

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is a weight."""
        return tensor in self._view.constants

    def made_by(self, tensor: str) -> int | None:
        """Return the index in the graph of the INT8 convolution that makes a tensor for one reader only, or None."""
        maker = self._view.maker.get(tensor)
        if maker is None or maker.name not in self._chosen:
            return None
        return self._order[maker.name] if len(self._uses[tensor]) == 1 and not self._is_output(tensor) else None

    def in_int8(self, tensor: str) -> bool:
        """Whether all readers of a tensor read it through a pair."""
        uses = self._uses[tensor]
        return bool(uses) and not self._is_output(tensor) and self._through.get(tensor, set()).issuperset(uses)

    def activated(self, tensor: str) -> str:
        """Return the output of the activation that alone reads a tensor; the tensor itself if there is none."""
        reader = self._view.only_reader(tensor)
        return str(reader.output[0]) if reader is not None and reader.op_type in ACTIVATIONS else tensor

    def only_this_in_float(self, tensor: str, node: onnx.NodeProto) -> bool:
        """Whether all readers of a tensor except this node read it through a pair."""
        others = {use for use in self._uses[tensor] if use[0] != node.name}
        return not self._is_output(tensor) and self._through.get(tensor, set()).issuperset(others)

    def placement(self, chosen: tuple[Convolution, ...]) -> Placement:
        """Return the whole placement.

        Tensors that share a scale take it from the histogram of the last one, which contains the values of the others.
        """
        tensors = [name for name in self._uses if name in self._through]
        last = {self._root(name): name for name in tensors}
        return Placement(
            chosen,
            {name: tuple(sorted(self._through[name], key=lambda use: self._order[use[0]])) for name in tensors},
            frozenset(self._int8_nodes),
            {name: last[self._root(name)] for name in tensors},
        )

    def _is_output(self, tensor: str) -> bool:
        return tensor in self._view.outputs

    def _root(self, tensor: str) -> str:
        while tensor in self._shared:
            tensor = self._shared[tensor]
        return tensor


def _at_max_pool(node: onnx.NodeProto, pairs: _Pairs) -> None:
    if len(node.output) == 1 and pairs.in_int8(node.output[0]):
        pairs.add(node, 0)
        pairs.share(node.input[0], node.output[0])


def _at_average_pool(node: onnx.NodeProto, pairs: _Pairs) -> None:
    if pairs.in_int8(node.output[0]) and pairs.only_this_in_float(node.input[0], node):
        pairs.add(node, 0)


def _at_add(node: onnx.NodeProto, pairs: _Pairs) -> None:
    """Give the skip a pair. Of two convolutions, the later one fuses, and the other one's output is the skip."""
    made_by = [pairs.made_by(name) for name in node.input]
    places = [place for place in made_by if place is not None]
    if not places:
        return
    skip = 1 - made_by.index(max(places))
    tensor = node.input[skip]
    if not pairs.is_constant(tensor) and (pairs.has(tensor) or pairs.in_int8(pairs.activated(node.output[0]))):
        pairs.add(node, skip)


def _at_concat(node: onnx.NodeProto, pairs: _Pairs) -> None:
    if pairs.in_int8(node.output[0]) and not any(map(pairs.is_constant, node.input)):
        pairs.join(node)


_RULES: dict[str, Callable[[onnx.NodeProto, _Pairs], None]] = {
    "Add": _at_add,
    "AveragePool": _at_average_pool,
    "Concat": _at_concat,
    "GlobalAveragePool": _at_average_pool,
    "MaxPool": _at_max_pool,
}
"""Rules by kind of node: each adds the pairs with which the node can read int8, where it can."""
