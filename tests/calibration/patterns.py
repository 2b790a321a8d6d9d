"""Small networks, each with one pattern that placement and the lint have a rule for; values may be negative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 4, 8, 8)

Step = tuple[str, Sequence[str], str, dict[str, Any]]


def conv(source: str, made: str, inputs: int = 4, group: int = 1) -> Step:
    """Make a 3×3 convolution to four channels; its node is named after its output."""
    return "Conv", (source,), made, {"inputs": inputs, "group": group}


def op(kind: str, *sources: str, made: str, **attributes: Any) -> Step:
    """Make any other node."""
    return kind, sources, made, attributes


PATTERNS: dict[str, list[Step]] = {
    "chain": [conv("image", "a"), op("Relu", "a", made="r"), conv("r", "b")],
    "residual": [
        conv("image", "stem"),
        op("Relu", "stem", made="skip"),
        conv("skip", "a"),
        conv("a", "b"),
        op("Add", "b", "skip", made="sum"),
        conv("sum", "out"),
    ],
    "residual with an activation": [
        conv("image", "skip"),
        conv("skip", "a"),
        op("Add", "skip", "a", made="sum"),
        op("Relu", "sum", made="r"),
        conv("r", "out"),
    ],
    "two convolutions added": [
        conv("image", "short"),
        conv("image", "a"),
        conv("a", "long"),
        op("Add", "long", "short", made="sum"),
        conv("sum", "out"),
    ],
    "two convolutions added, with an activation": [
        conv("image", "short"),
        conv("image", "long"),
        op("Add", "short", "long", made="sum"),
        op("Relu", "sum", made="r"),
        conv("r", "out"),
    ],
    "a sum that is an output": [
        conv("image", "a"),
        op("Relu", "a", made="r"),
        conv("a", "b"),
        op("Add", "b", "r", made="sum"),
    ],
    "max pool": [
        conv("image", "a"),
        op("MaxPool", "a", made="pool", kernel_shape=[2, 2], strides=[2, 2]),
        conv("pool", "out"),
    ],
    "max pool read in float too": [
        conv("image", "a"),
        op("MaxPool", "a", made="pool", kernel_shape=[2, 2], strides=[2, 2]),
        conv("pool", "out"),
        op("Sigmoid", "pool", made="also"),
    ],
    "average pool": [
        conv("image", "a"),
        op("AveragePool", "a", made="pool", kernel_shape=[2, 2], strides=[2, 2]),
        conv("pool", "out"),
    ],
    "squeeze and excitation": [
        conv("image", "a"),
        op("GlobalAveragePool", "a", made="pool"),
        conv("pool", "gate"),
        op("Sigmoid", "gate", made="share"),
        op("Mul", "a", "share", made="scaled"),
        conv("scaled", "out"),
    ],
    "concatenation": [
        conv("image", "a"),
        conv("image", "b"),
        conv("b", "c"),
        op("Concat", "a", "b", "c", made="joined", axis=1),
        conv("joined", "out", inputs=12),
    ],
    "concatenation with an activation": [
        conv("image", "a"),
        conv("image", "b"),
        op("Concat", "a", "b", made="joined", axis=1),
        op("Relu", "joined", made="r"),
        conv("r", "out", inputs=8),
    ],
    "concatenation of concatenations": [
        conv("image", "a"),
        conv("a", "b"),
        op("Concat", "a", "b", made="two", axis=1),
        conv("two", "c", inputs=8),
        op("Concat", "two", "c", made="three", axis=1),
        conv("three", "out", inputs=12),
    ],
    "heads joined": [
        conv("image", "a"),
        conv("a", "one"),
        conv("a", "two"),
        op("Concat", "one", "two", made="heads", axis=1),
    ],
    "depthwise": [
        conv("image", "a"),
        op("Relu", "a", made="r"),
        conv("r", "d", inputs=1, group=4),
        op("Relu", "d", made="e"),
        conv("e", "out"),
    ],
}


def pattern(name: str) -> onnx.ModelProto:
    """Build a pattern: image (1, 4, 8, 8) → all tensors that no other node reads; the weights are seeded."""
    return network(PATTERNS[name])


def network(steps: Sequence[Step], *also: str) -> onnx.ModelProto:
    """Build the graph of these steps; some inner tensors may also be outputs."""
    random = np.random.default_rng(7)
    nodes, weights = [], []
    for kind, sources, made, attributes in steps:
        inputs = list(sources)
        if kind == "Conv":
            fan_in, group = attributes["inputs"], attributes["group"]
            for part, shape in (("weight", (4, fan_in, 3, 3)), ("bias", (4,))):
                values = random.normal(0, 0.5 / np.sqrt(fan_in) if part == "weight" else 0.2, shape)
                weights.append(numpy_helper.from_array(values.astype(np.float32), f"{made}.{part}"))
                inputs.append(f"{made}.{part}")
            attributes = {"pads": [1, 1, 1, 1], "group": group}
        nodes.append(helper.make_node(kind, inputs, [made], made, **attributes))
    read = {name for node in nodes for name in node.input}
    ends = [node.output[0] for node in nodes if node.output[0] not in read or node.output[0] in also]
    graph = helper.make_graph(
        nodes,
        "pattern",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ends],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def pictures(count: int = 4) -> list[np.ndarray]:
    """Make seeded images for these networks."""
    random = np.random.default_rng(3)
    return [random.normal(0, 1, SHAPE).astype(np.float32) for _ in range(count)]
