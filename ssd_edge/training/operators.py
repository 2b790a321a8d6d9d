"""Run ONNX operators in PyTorch with gradients: those that the published models export to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from ssd_edge.errors import ModelError

Operator = Callable[..., Tensor]
"""Maps a node's tensor inputs, in order, to its output."""

Constants = Mapping[str, npt.NDArray[Any]]
"""Initializers of the graph, by name."""


def operator(node: onnx.NodeProto, constants: Constants) -> tuple[Operator, tuple[int, ...]]:
    """Make the function of a node.

    The graph is for one image, the function for a batch.

    Args:
        node: a node of the exported graph.
        constants: the graph's initializers.

    Returns:
        The function, and the positions of the node's inputs that it takes. Other inputs are settings, such as axes,
        and are read from ``constants``.

    Raises:
        ModelError: the operator is not supported, or is used in a way that no published model needs.
    """
    make = _OPERATORS.get(node.op_type)
    if make is None or len(node.output) != 1:
        raise ModelError(f"{node.name} is a {node.op_type}, which quantisation-aware training does not support")
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    settings = [constants.get(name) for name in node.input]
    try:
        return make(attributes, settings)
    except (ValueError, IndexError, KeyError, AttributeError):  # a setting is not constant, or missing
        raise ModelError(
            f"{node.name}, a {node.op_type}, is used in a way that quantisation-aware training does not support"
        ) from None


Attributes = Mapping[str, Any]
"""Attributes of a node by name."""

Settings = list[npt.NDArray[Any] | None]
"""The value of each input of a node that is constant, else None."""

Made = tuple[Operator, tuple[int, ...]]
"""Result of ``operator``: a function, and the positions of the inputs that it takes."""


def _conv(attributes: Attributes, settings: Settings) -> Made:
    stride, dilation = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    (top, left, bottom, right), groups = _sides(attributes), attributes.get("group", 1)
    # PyTorch pads both sides alike; TensorFlow's "SAME" does not.
    padding, more = ((top, left), None) if (top, left) == (bottom, right) else (0, (left, right, top, bottom))

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x if more is None else F.pad(x, more), weight, bias, stride, padding, dilation, groups)

    return run, tuple(range(len(settings)))


def _max_pool(attributes: Attributes, _: Settings) -> Made:
    kernel, stride = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    ceil, begin = bool(attributes.get("ceil_mode", 0)), attributes.get("pads", [0, 0, 0, 0])
    if ceil or begin[:2] == begin[2:]:
        padding = _padding(attributes)
        return lambda x: F.max_pool2d(x, kernel, stride, padding, attributes.get("dilations", [1, 1]), ceil), (0,)
    # Exporters write ceil_mode as padding on one side only.
    top, left, bottom, right = begin
    if attributes.get("dilations", [1, 1]) != [1, 1]:
        raise ValueError
    return lambda x: F.max_pool2d(F.pad(x, (left, right, top, bottom), value=-torch.inf), kernel, stride), (0,)


def _clip(_: Attributes, settings: Settings) -> Made:
    least, most = (_number(value) for value in settings[1:3])
    return lambda x: x.clamp(least, most), (0,)


def _hard_sigmoid(attributes: Attributes, _: Settings) -> Made:
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return lambda x: (x * alpha + beta).clamp(0, 1), (0,)


def _concat(attributes: Attributes, settings: Settings) -> Made:
    axis = attributes["axis"]
    return lambda *parts: torch.cat(parts, axis), tuple(range(len(settings)))


def _transpose(attributes: Attributes, _: Settings) -> Made:
    order = list(attributes["perm"])
    if order[0] != 0:
        raise ValueError
    return lambda x: x.permute(order), (0,)


def _reshape(_: Attributes, settings: Settings) -> Made:
    first, *rest = _integers(settings[1])
    if first not in (0, 1) or 0 in rest:  # the first dimension is the batch
        raise ValueError
    return lambda x: x.reshape(len(x), *rest), (0,)


def _reduce(function: Callable[..., Tensor]) -> Callable[[Attributes, Settings], Made]:
    def made(attributes: Attributes, settings: Settings) -> Made:
        axes, keep = _integers(settings[1]), bool(attributes.get("keepdims", 1))
        return lambda x: function(x, dim=axes, keepdim=keep), (0,)

    return made


def _pairwise(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Attributes, Settings], Made]:
    return lambda _, settings: (function, (0, 1))


def _single(function: Callable[[Tensor], Tensor]) -> Callable[[Attributes, Settings], Made]:
    return lambda _, settings: (function, (0,))


def _padding(attributes: Attributes) -> list[int]:
    """Padding as (rows, columns); ValueError if the two sides differ."""
    pads = _sides(attributes)
    if pads[:2] != pads[2:]:
        raise ValueError
    return pads[:2]


def _sides(attributes: Attributes) -> list[int]:
    """Padding as (top, left, bottom, right); ValueError if it is not given in numbers."""
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError
    return list(attributes.get("pads", [0, 0, 0, 0]))


def _number(value: npt.NDArray[Any] | None) -> float:
    if value is None:
        raise ValueError
    return float(value.reshape(()))


def _integers(value: npt.NDArray[Any] | None) -> list[int]:
    if value is None:
        raise ValueError
    return [int(number) for number in np.atleast_1d(value)]


_OPERATORS: dict[str, Callable[[Attributes, Settings], Made]] = {
    "Add": _pairwise(torch.add),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _pairwise(torch.div),
    "GlobalAveragePool": _single(lambda x: x.mean(dim=(2, 3), keepdim=True)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _single(F.hardswish),
    "MaxPool": _max_pool,
    "Mul": _pairwise(torch.mul),
    "Pow": _pairwise(torch.pow),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _single(torch.relu),
    "Reshape": _reshape,
    "Sigmoid": _single(torch.sigmoid),
    "Sqrt": _single(torch.sqrt),
    "Transpose": _transpose,
}
"""By type of node: makes its function from its attributes and constant inputs."""
