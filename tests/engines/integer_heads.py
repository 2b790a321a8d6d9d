"""Heads with Q/DQ for which every executor must give the same bits, and their exact results, computed in integers.

All scales are powers of two, and all sums are below 2²⁴ of their unit, so that float32 holds each sum exactly, in any
order of addition. Activations and weights reach the ends of their grids: two products do not fit into 16 bits.

    image (1, 3, 32, 32) ─Q/DQ─▶ 3×3, stride 2 ─ReLU─Q/DQ─▶ depthwise 3×3 ─Q/DQ─▶ 3×3, stride 8 ─ReLU─Q/DQ─▶ two 1×1
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ssd_edge.spec import METADATA_KEY
from tests.helpers import small_spec

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_CHANNELS = 64


class Layer(NamedTuple):
    """A convolution: its weight in steps, the exponents of its scales by channel, and how it is applied."""

    name: str
    entry: str
    steps: npt.NDArray[np.int8]
    exponents: Ints
    stride: int
    depthwise: bool
    relu: bool


class Grid(NamedTuple):
    """Quantisation of an activation: a scale of 2^exponent, a zero point, and the type that holds the steps."""

    exponent: int
    zero: int
    kind: type[np.generic]


def grids(unsigned: bool) -> dict[str, Grid]:
    """Grids by the name of the tensor that they quantise."""
    behind_relu = Grid(0, 0, np.uint8) if unsigned else Grid(0, 0, np.int8)
    either_sign = Grid(0, 117, np.uint8) if unsigned else Grid(0, 0, np.int8)
    return {"image": either_sign, "first": behind_relu, "depthwise": either_sign, "third": behind_relu}


def layers(per_channel: bool = True) -> list[Layer]:
    """Make the convolutions, with weights that are mostly near the largest possible."""
    random = np.random.default_rng(3)

    def layer(name: str, entry: str, shape: tuple[int, ...], exponent: int, stride: int = 1, **how: bool) -> Layer:
        steps = random.choice([-127, -126, -64, 1, 100, 126, 127, 127], shape).astype(np.int8)
        varied = random.integers(-1, 2, shape[0]) if per_channel else np.zeros(shape[0], np.int64)
        return Layer(name, entry, steps, exponent + varied, stride, how.get("depthwise", False), how.get("relu", False))

    return [
        layer("first", "image", (_CHANNELS, 3, 3, 3), -9, 2, relu=True),
        layer("depthwise", "first", (_CHANNELS, 1, 3, 3), -8, depthwise=True),
        layer("third", "depthwise", (_CHANNELS, _CHANNELS, 3, 3), -12, 8, relu=True),
        layer("loc_map", "third", (56, _CHANNELS, 1, 1), -13),
        layer("logits_map", "third", (42, _CHANNELS, 1, 1), -13),
    ]


def images(count: int = 3) -> list[Floats]:
    """Make images, (1, 3, 32, 32) float32 in multiples of 0.5 for ties, some beyond the grid's ends."""
    random = np.random.default_rng(7)
    return [(random.integers(-300, 301, (1, 3, 32, 32)) / 2).astype(np.float32) for _ in range(count)]


def write_integer_heads(path: Path, *, unsigned: bool = False, per_channel: bool = True) -> Path:
    """Write the heads.

    Args:
        path: the file to write.
        unsigned: whether activations are uint8 with a zero point; otherwise int8.
        per_channel: whether weights have a scale for each channel; otherwise one for all.
    """
    nodes, constants = [], {}

    def add(name: str, array: npt.ArrayLike) -> str:
        constants[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    for tensor, grid in grids(unsigned).items():
        scale = add(f"{tensor}_scale", np.float32(2.0**grid.exponent))
        given = [scale, add(f"{tensor}_zero", np.asarray(grid.zero, grid.kind))]
        nodes.append((tensor, helper.make_node("QuantizeLinear", [tensor, *given], [f"{tensor}_q"])))
        nodes.append((tensor, helper.make_node("DequantizeLinear", [f"{tensor}_q", *given], [f"{tensor}_dq"])))
    behind: dict[str, list[onnx.NodeProto]] = {}
    for tensor, node in nodes:
        behind.setdefault(tensor, []).append(node)
    ordered = list(behind["image"])
    for one in layers(per_channel):
        scale = np.float32(2.0) ** one.exponents.astype(np.float32)
        given = [
            add(f"{one.name}_steps", one.steps),
            add(f"{one.name}_weight_scale", scale if per_channel else scale[0]),
            add(f"{one.name}_weight_zero", np.zeros(len(scale) if per_channel else (), np.int8)),
        ]
        axis = {"axis": 0} if per_channel else {}
        ordered.append(helper.make_node("DequantizeLinear", given, [f"{one.name}_weight"], **axis))
        pad = one.steps.shape[-1] // 2
        how: dict[str, Any] = {"pads": [pad] * 4, "strides": [one.stride] * 2, "kernel_shape": one.steps.shape[2:]}
        how |= {"group": _CHANNELS} if one.depthwise else {}
        made = f"{one.name}_sum" if one.relu else one.name
        ordered.append(helper.make_node("Conv", [f"{one.entry}_dq", f"{one.name}_weight"], [made], one.name, **how))
        if one.relu:
            ordered.append(helper.make_node("Relu", [made], [one.name]))
        ordered += behind.get(one.name, [])
    for head, width in (("loc", 4), ("logits", 3)):
        shape = add(f"{head}_shape", np.array([1, 56, width], np.int64))
        ordered.append(helper.make_node("Reshape", [f"{head}_map", shape], [head]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        ordered,
        "integers",
        [value("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [value("loc", TensorProto.FLOAT, [1, 56, 4]), value("logits", TensorProto.FLOAT, [1, 56, 3])],
        list(constants.values()),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: small_spec().to_text()})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def computed(image: Floats, *, unsigned: bool = False, per_channel: bool = True) -> tuple[Floats, Floats]:
    """Compute loc (1, 56, 4) and logits (1, 56, 3) by ONNX's definition; steps and their sums are integers."""
    values = {"image": image[0].astype(np.float64)}
    steps: dict[str, Ints] = {}
    for one in layers(per_channel):
        if one.entry not in steps:
            grid = grids(unsigned)[one.entry]
            limits = np.iinfo(grid.kind)
            rounded = np.rint(values[one.entry] / 2.0**grid.exponent) + grid.zero
            steps[one.entry] = (np.clip(rounded, limits.min, limits.max) - grid.zero).astype(np.int64)
        total = _convolved(steps[one.entry], one)
        assert np.abs(total).max() < 1 << 24, "float32 would round it"
        exponent = one.exponents + grids(unsigned)[one.entry].exponent
        value = total * 2.0 ** exponent[:, None, None]
        values[one.name] = np.maximum(value, 0) if one.relu else value
    heads = values["loc_map"].reshape(1, 56, 4), values["logits_map"].reshape(1, 56, 3)
    return heads[0].astype(np.float32), heads[1].astype(np.float32)


def _convolved(x: Ints, layer: Layer) -> Ints:
    size = layer.steps.shape[-1]
    padded = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))[
        :, :: layer.stride, :: layer.stride
    ]
    weight = layer.steps.astype(np.int64)
    if layer.depthwise:
        return np.asarray(np.einsum("cyxij,cij->cyx", windows, weight[:, 0]))
    return np.asarray(np.einsum("cyxij,ocij->oyx", windows, weight))
