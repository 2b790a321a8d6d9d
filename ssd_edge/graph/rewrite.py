"""Rewrites of a graph into a form that computes the same and in which more can be fused."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ssd_edge.graph.operators import ELEMENTWISE

if TYPE_CHECKING:
    import onnx


def activate_before_joining(model: onnx.ModelProto) -> None:
    """Rewrite Activation(Concat(a, b)) as Concat(Activation(a), Activation(b)), in place.

    Each convolution can then fuse with its activation, and the concatenation can join int8, see ``placement``.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    activations = {
        node.input[0]: node
        for node in graph.node
        if node.op_type in ELEMENTWISE and readers[node.input[0]] == 1 and constants.issuperset(node.input[1:])
    }
    nodes: list[onnx.NodeProto] = []
    gone = set()
    for node in graph.node:
        activation = activations.get(node.output[0]) if node.op_type == "Concat" else None
        if activation is not None:
            for place, name in enumerate(node.input):
                copy = type(activation)()
                copy.CopyFrom(activation)
                copy.name = f"{activation.name}_{place}"
                copy.input[0], copy.output[0] = name, f"{activation.output[0]}_{place}"
                node.input[place] = copy.output[0]
                nodes.append(copy)
            node.output[0] = activation.output[0]
            gone.add(activation.name)
        if node.name not in gone:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
