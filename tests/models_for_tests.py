"""Make tiny SSDs as ONNX; ``python -m tests.models_for_tests heads.onnx`` writes the one with random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ssd_edge.graph.heads import write_heads
from ssd_edge.spec import ModelSpec
from tests.helpers import small_spec

OPSET = 20

TINY_DESCRIPTION = {
    "labels": ["bolt", "nut"],
    "input_size": [32, 32],
    "mean": [0, 0, 0],
    "std": [255, 255, 255],
    "levels": [
        {"grid": [4, 4], "boxes": [[0.2, 1], [0.2, 2], [0.2, 0.5]]},
        {"grid": [2, 2], "boxes": [[0.5, 1], [0.7, 1]]},
    ],
}
"""Description of ``tiny_model`` for ``ssd-edge import-onnx``."""


def tiny_model(spec: ModelSpec | None = None, seed: int = 0) -> onnx.ModelProto:
    """Make ``image`` (1, 3, 32, 32) → ``loc`` (1, 56, 4) and ``logits`` (1, 56, C), without a spec in the file."""
    spec = spec or small_spec()
    rng = np.random.default_rng(seed)
    nodes, weights = [], []

    def constant(name, array):
        weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(name, source, inputs, outputs, stride, relu=True):
        kernel = rng.normal(0, (2 / (9 * inputs)) ** 0.5, (outputs, inputs, 3, 3)).astype(np.float32)
        bias = rng.normal(0, 0.1, outputs).astype(np.float32)
        names = [source, constant(f"{name}.weight", kernel), constant(f"{name}.bias", bias)]
        result = f"{name}.conv" if relu else f"{name}.out"
        nodes.append(
            helper.make_node(
                "Conv", names, [result], f"{name}/Conv", kernel_shape=[3, 3], strides=[stride] * 2, pads=[1] * 4
            )
        )
        if relu:
            nodes.append(helper.make_node("Relu", [result], [f"{name}.out"], f"{name}/Relu"))
        return f"{name}.out"

    half = conv("stem", "image", 3, 8, 2)
    quarter = conv("body", half, 8, 12, 2)
    maps = [conv("map1", quarter, 12, 16, 2)]
    maps.append(conv("map2", maps[0], 16, 16, 2))
    for head, values in (("loc", 4), ("logits", spec.num_classes)):
        rows = []
        for k, (source, level) in enumerate(zip(maps, spec.levels, strict=True), 1):
            out = conv(f"{head}{k}", source, 16, len(level.sizes) * values, 1, relu=False)
            nodes.append(helper.make_node("Transpose", [out], [f"{out}.last"], perm=[0, 2, 3, 1]))
            shape = constant(f"{out}.shape", np.asarray([1, level.count, values], np.int64))
            nodes.append(helper.make_node("Reshape", [f"{out}.last", shape], [f"{out}.rows"]))
            rows.append(f"{out}.rows")
        nodes.append(helper.make_node("Concat", rows, [head], axis=1))

    def value(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape])

    boxes = spec.num_default_boxes
    outputs = [value("loc", boxes, 4), value("logits", boxes, spec.num_classes)]
    graph = helper.make_graph(nodes, "tiny", [value("image", 3, *spec.input_size)], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def marks_model(spec: ModelSpec | None = None) -> onnx.ModelProto:
    """Make a model that finds bright 8×8 cells of a dark 32×32 picture: blue is the first class, red the second.

    Its weights are set by hand, so its scores are clear: that of the first default box of such a cell is 0.98, all
    others are 3 · 10⁻⁴.
    """
    spec = spec or small_spec()
    classes = spec.num_classes
    weights: dict[str, np.ndarray] = {}
    nodes = []

    def conv(name, source, weight, bias, stride):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = weight.astype(np.float32), bias.astype(np.float32)
        size = list(weight.shape[2:])
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        nodes.append(helper.make_node("Conv", inputs, [name], f"{name}/Conv", kernel_shape=size, strides=[stride] * 2))
        return name

    mean = np.zeros((2, 3, 8, 8))
    mean[0, 2], mean[1, 0] = 1 / 64, 1 / 64  # the planes are RGB
    nodes.append(helper.make_node("Relu", [conv("cells.sum", "image", mean, np.zeros(2), 8)], ["cells"], "cells/Relu"))
    nodes.append(helper.make_node("MaxPool", ["cells"], ["coarse"], "coarse/Pool", kernel_shape=[2, 2], strides=[2, 2]))
    bright = (255 - spec.mean[0]) / spec.std[0], (255 - spec.mean[2]) / spec.std[2]
    for head, values in (("loc", 4), ("logits", classes)):
        rows = []
        for k, (source, level) in enumerate(zip(("cells", "coarse"), spec.levels, strict=True)):
            weight = np.zeros((len(level.sizes) * values, 2, 1, 1))
            bias = np.zeros(len(level.sizes) * values)
            if head == "loc":
                bias[:4] = 0.5, -0.5, 1, -1
            else:
                bias[::classes] = 8
                if k == 0:
                    weight[1, 0, 0, 0], weight[2, 1, 0, 0] = 12 / bright[1], 12 / bright[0]
            out = conv(f"{head}{k}", source, weight, bias, 1)
            nodes.append(helper.make_node("Transpose", [out], [f"{out}.last"], perm=[0, 2, 3, 1]))
            weights[f"{out}.shape"] = np.asarray([1, level.count, values], np.int64)
            nodes.append(helper.make_node("Reshape", [f"{out}.last", f"{out}.shape"], [f"{out}.rows"]))
            rows.append(f"{out}.rows")
        nodes.append(helper.make_node("Concat", rows, [head], axis=1))

    def value(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape])

    outputs = [value("loc", spec.num_default_boxes, 4), value("logits", spec.num_default_boxes, classes)]
    initializers = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "marks", [value("image", 3, *spec.input_size)], outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def marks_scene(*marks: tuple[int, int, int]) -> np.ndarray:
    """Draw a dark 32×32 picture with bright cells: (row, column, channel of BGR)."""
    image = np.full((32, 32, 3), 20, np.uint8)
    for row, column, channel in marks:
        image[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8, channel] = 255
    return image


def quantised(model: onnx.ModelProto, scale: float = 0.05) -> onnx.ModelProto:
    """Copy a model with explicit Q/DQ around each convolution, as ``ssd-edge calibrate`` does, but made-up scales."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in result.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    added = {"step": np.float32(scale), "zero": np.int8(0)}
    for node in model.graph.node:
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        if node.op_type == "Conv":
            image, weight = node.input[:2]
            values = numpy_helper.to_array(weights[weight])
            steps = np.abs(values).max(axis=(1, 2, 3)) / 127
            added[f"{weight}.q"] = np.rint(values / steps[:, None, None, None]).astype(np.int8)
            added |= {f"{weight}.steps": steps.astype(np.float32), f"{weight}.zeros": np.zeros(len(steps), np.int8)}
            if not any(f"{image}.dq" in other.output for other in nodes):
                nodes.append(helper.make_node("QuantizeLinear", [image, "step", "zero"], [f"{image}.q"]))
                nodes.append(helper.make_node("DequantizeLinear", [f"{image}.q", "step", "zero"], [f"{image}.dq"]))
            inputs = [f"{weight}.q", f"{weight}.steps", f"{weight}.zeros"]
            nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{weight}.dq"], axis=0))
            changed.input[0], changed.input[1] = f"{image}.dq", f"{weight}.dq"
        nodes.append(changed)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in result.graph.initializer if tensor.name in read]
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(kept)
    result.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), name) for name, v in added.items())
    return result


def write_tiny(path: Path, spec: ModelSpec | None = None, seed: int = 0) -> Path:
    """Write the tiny model as heads of ssd-edge, with its spec."""
    spec = spec or small_spec()
    write_heads(tiny_model(spec, seed), spec, path)
    return path


if __name__ == "__main__":
    write_tiny(Path(sys.argv[1]))
