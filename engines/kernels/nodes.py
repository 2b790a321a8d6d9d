"""Types, shapes and launch of each decode node, for runtimes that know shapes and attributes but no ``ModelSpec``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssd_edge.engines.kernels.launch import CAPACITY, Launch, decode_launch, merge_launch, select_launch
from ssd_edge.errors import BackendError

Shapes = Sequence[Sequence[Any]]
Attributes = Mapping[str, Any]

HEADS, SINGLE, INTEGER = "heads", "float32", "int32"
"""Kinds of tensors; ``heads`` is float32 or float16, the same as the node's first input."""


@dataclass(frozen=True)
class Dims:
    """A runtime's arithmetic on dimensions, which may be numbers or expressions.

    Attributes:
        constant: makes a dimension of a given size.
        less_one: subtracts one from a dimension.
    """

    constant: Callable[[int], Any]
    less_one: Callable[[Any], Any]


@dataclass(frozen=True)
class Node:
    """One operator of ``decode_graph.py``, and the kernel that runs it.

    Attributes:
        operator: the operator's name.
        attributes: types of the attributes by name, in the order of the kernel's scalars.
        inputs: kinds of the inputs.
        outputs: kinds of the outputs.
        shapes: function (inputs' shapes, attributes, dims) → outputs' shapes.
        launch: function (inputs' shapes, whether heads are float16, attributes) → the launch.
    """

    operator: str
    attributes: Mapping[str, type]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Callable[[Shapes, Attributes, Dims], Shapes]
    launch: Callable[[Shapes, bool, Attributes], Launch]


def read_attributes(node: Node, given: Attributes) -> dict[str, int | float]:
    """Check a node's attributes and return them as its kernel takes them.

    Raises:
        BackendError: an attribute is missing, unknown, of another type or beyond the kernels' limits.
    """
    if wrong := sorted(set(node.attributes) ^ set(given)):
        what = "has no" if wrong[0] in node.attributes else "knows no"
        raise BackendError(
            f"{node.operator} {what} attribute {wrong[0]}; it takes {', '.join(node.attributes)}: export the network "
            "again with this release of ssd-edge"
        )
    read = {}
    for name, kind in node.attributes.items():
        value = given[name]
        fits = type(value) is kind
        if not fits:
            raise BackendError(f"{node.operator}'s {name} is {value!r}, but it has to be one {kind.__name__}")
        if name in {"top_k", "max_detections"} and not 1 <= value <= CAPACITY:
            raise BackendError(f"{node.operator}'s {name} is {value}, but the GPU kernels hold 1 to {CAPACITY}")
        read[name] = value
    return read


def _decode_shapes(inputs: Shapes, _: Attributes, dims: Dims) -> Shapes:
    batch, boxes, classes = inputs[1]
    return (batch, boxes, dims.constant(4)), (batch, dims.less_one(classes), boxes)


def _decode_launch(inputs: Shapes, half: bool, attributes: Attributes) -> Launch:
    batch, boxes, classes = inputs[1]
    return decode_launch(batch, boxes, classes, half, **attributes)


def _select_shapes(inputs: Shapes, attributes: Attributes, dims: Dims) -> Shapes:
    batch, labels, _ = inputs[1]
    top_k = dims.constant(attributes["top_k"])
    return (batch, labels, top_k, dims.constant(4)), (batch, labels, top_k), (batch, labels)


def _merge_shapes(inputs: Shapes, attributes: Attributes, dims: Dims) -> Shapes:
    batch, most = inputs[1][0], dims.constant(attributes["max_detections"])
    return (batch,), (batch, most, dims.constant(4)), (batch, most), (batch, most), (batch,)


NODES = {
    node.operator: node
    for node in (
        Node(
            "SsdDecode",
            {
                "is_yxhw": int,
                "is_sigmoid": int,
                "is_clipped": int,
                "score_threshold": float,
                "centre_variance": float,
                "size_variance": float,
            },
            (HEADS, HEADS, SINGLE),
            (SINGLE, SINGLE),
            _decode_shapes,
            _decode_launch,
        ),
        Node(
            "SsdSelect",
            {"top_k": int, "nms_iou": float},
            (SINGLE, SINGLE),
            (SINGLE, SINGLE, INTEGER),
            _select_shapes,
            lambda inputs, _, attributes: select_launch(*inputs[1], **attributes),
        ),
        Node(
            "SsdMerge",
            {"max_detections": int},
            (SINGLE, SINGLE, INTEGER),
            (INTEGER, SINGLE, SINGLE, INTEGER, INTEGER),
            _merge_shapes,
            lambda inputs, _, attributes: merge_launch(*inputs[1], **attributes),
        ),
    )
}
"""The decode nodes by operator, in the order in which they run."""
