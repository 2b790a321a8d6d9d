"""A view of an ONNX graph: which node makes a tensor, which nodes read it, and which tensors are constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import onnx


class GraphView:
    """The nodes and constants of a model by the names of their tensors, as they are when the view is made.

    Attributes:
        nodes: in the order of execution.
        outputs: names of the network's outputs.
        maker: the node that makes a tensor.
        readers: the nodes that read a tensor, each once, in the graph's order; none for most outputs.
        constants: weights, and what ``Constant`` nodes give.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.outputs = [value.name for value in model.graph.output]
        self.maker = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.input)):
                self.readers[name].append(node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self.constants[node.output[0]] = node.attribute[0].t

    def constant(self, name: str) -> onnx.TensorProto | None:
        """Return a constant, also through Identity; None for a tensor that is computed."""
        while name in self.maker and self.maker[name].op_type == "Identity":
            name = self.maker[name].input[0]
        return self.constants.get(name)

    def only_reader(self, tensor: str) -> onnx.NodeProto | None:
        """Return the one node that reads a tensor; None where several do, or where it is an output."""
        readers = self.readers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None


def with_inner(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield a node and all nodes in its subgraphs."""
    yield node
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from with_inner(inner)


def name_of(node: onnx.NodeProto) -> str:
    """Return a node's name or, where it has none, the name of what it makes."""
    return str(node.name or node.output[0])


def groups_of(node: onnx.NodeProto) -> int:
    """Return the number of groups of a convolution."""
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def is_depthwise(node: onnx.NodeProto, weight: onnx.TensorProto | None) -> bool:
    """Tell whether each channel of a Conv reads one input channel only."""
    one_channel = weight is None or len(weight.dims) < 2 or weight.dims[1] == 1
    return bool(node.op_type == "Conv" and groups_of(node) > 1 and one_channel)


def drop_unread_constants(model: onnx.ModelProto) -> None:
    """Remove the weights that no node reads, in place."""
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
