"""What a network computes behind its heads: activations, decode and NMS, by the nodes that stand there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ssd_edge.graph.operators import CONVOLUTIONS, MOVES, QDQ
from ssd_edge.graph.view import GraphView, with_inner

PASSING = MOVES | {"Cast", "Concat"}
"""Operators that only move, join or convert values."""

_SUPPRESSION = re.compile(r"nms|non_?max_?suppression|detection_?post_?process|detection_?output", re.IGNORECASE)
_ENDS = CONVOLUTIONS | {"Gemm", "MatMul", "QLinearConv", "ConvInteger", "QLinearMatMul"}
_ELEMENTWISE = frozenset({"Add", "Div", "Mul", "Sub"})
_OF_DECODE = frozenset({"Exp", "Pow", "Sigmoid", "Softmax", "Softplus"})
"""Functions that turn regression values into sizes and places; none stands behind a raw regression head."""
_SMALL = 16  # values of a matrix that turns centres and sizes into corners


def suppressions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """List the nodes that do NMS, of any runtime's operators, in the order of execution; also those in a subgraph."""
    return [node for node in model.graph.node if any(_SUPPRESSION.search(inner.op_type) for inner in with_inner(node))]


def kind_of_suppression(node: onnx.NodeProto) -> str:
    """Return the operator by which one of ``suppressions`` does NMS."""
    return next(inner.op_type for inner in with_inner(node) if _SUPPRESSION.search(inner.op_type))


def without_suppression(model: onnx.ModelProto) -> None:
    """Remove, in place, the nodes that do NMS, the outputs that depend on them, and the nodes for those alone."""
    graph = model.graph
    after = {name for node in suppressions(model) for name in node.output}
    for node in graph.node:
        if not after.isdisjoint(name for inner in with_inner(node) for name in inner.input):
            after.update(node.output)
    outputs = [value for value in graph.output if value.name not in after]
    needed, kept = {value.name for value in outputs}, []
    for node in reversed(graph.node):  # nodes are in order of execution
        if not needed.isdisjoint(node.output):
            needed.update(name for inner in with_inner(node) for name in inner.input)
            kept.append(node)
    del graph.output[:], graph.node[:]
    graph.output.extend(outputs)
    graph.node.extend(reversed(kept))


def heads_behind(view: GraphView, name: str) -> set[str]:
    """Follow a tensor back to the last ones that hold a convolution's values, only moved, joined or converted.

    For a raw head it is the tensor itself; for probabilities, the logits; for decoded boxes, the regression values.
    """

    @cache
    def is_raw(tensor: str) -> bool:
        node = view.maker.get(tensor)
        if node is None or _is_end(view, node):
            return node is not None
        if node.op_type == "Add":  # a bias
            values = [part for part in node.input if view.constant(part) is None]
            return len(values) == 1 and not _varies_by_box(view, node, 0) and is_raw(values[0])
        joined = len(node.input) if node.op_type == "Concat" else 1  # further inputs of other nodes: shapes and axes
        return node.op_type in PASSING | QDQ and all(is_raw(part) for part in node.input[:joined])

    tensors = {name} | {part for node in _back(view, name, is_raw) for part in node.input}
    return {tensor for tensor in tensors if is_raw(tensor)}


def decode_between(view: GraphView, loc: str, num_boxes: int) -> onnx.NodeProto | None:
    """Return a node between the last convolution and ``loc`` that belongs to decode; None for a raw head.

    Decode takes the exponential of sizes, or another function, and multiplies or adds a constant for each default box.
    A bias or a scale of the channels has one value for all boxes.

    Args:
        view: a graph whose constants are folded.
        loc: the regression output.
        num_boxes: number of default boxes.
    """
    nodes = list(_back(view, loc, lambda _: False))
    functions = (node for node in nodes if node.op_type in _OF_DECODE)
    of_boxes = (node for node in nodes if node.op_type in _ELEMENTWISE and _varies_by_box(view, node, num_boxes))
    return next(functions, None) or next(of_boxes, None)


def factor_of_channels(view: GraphView, loc: str) -> npt.NDArray[np.float64] | None:
    """Return the four values by which ``loc`` is multiplied behind the last convolution; None if by none."""
    for node in _back(view, loc, lambda _: False):
        for values in _constants(view, node):
            if node.op_type in {"Mul", "Div"} and values.size == 4:
                factor = np.asarray(values, np.float64).ravel()
                return factor if node.op_type == "Mul" else 1 / factor
    return None


def softmax_by_hand(view: GraphView, node: onnx.NodeProto) -> str:
    """Return the logits of a softmax written as exp(x) / Σ exp(x), with or without max x subtracted; else empty."""

    def made(name: str, kind: str) -> onnx.NodeProto | None:
        maker = view.maker.get(name)
        return maker if maker is not None and maker.op_type == kind else None

    if node.op_type != "Div" or (total := made(node.input[1], "ReduceSum")) is None:
        return ""
    exponential = made(node.input[0], "Exp")
    if exponential is None or total.input[0] != node.input[0]:
        return ""
    logits = str(exponential.input[0])
    shift = made(logits, "Sub")
    if shift is not None and (peak := made(shift.input[1], "ReduceMax")) is not None:
        return str(shift.input[0]) if peak.input[0] == shift.input[0] else logits
    return logits


def _back(view: GraphView, name: str, stop: Callable[[str], bool]) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that a tensor is computed from, back to the convolutions, which are left out."""
    left, seen = [name], {name}
    while left:
        tensor = left.pop()
        node = view.maker.get(tensor)
        if stop(tensor) or node is None or _is_end(view, node):
            continue
        yield node
        fresh = [part for inner in with_inner(node) for part in inner.input if part and part not in seen]
        seen.update(fresh)
        left.extend(fresh)


def _is_end(view: GraphView, node: onnx.NodeProto) -> bool:
    """Tell whether a node computes a head: a convolution or a matrix product, but for that of corners from centres."""
    return node.op_type in _ENDS and not (
        node.op_type not in CONVOLUTIONS and any(values.size <= _SMALL for values in _matrices(view, node))
    )


def _matrices(view: GraphView, node: onnx.NodeProto) -> Iterator[npt.NDArray[np.generic]]:
    return (values for values in _constants(view, node) if values.ndim >= 2)


def _constants(view: GraphView, node: onnx.NodeProto) -> Iterator[npt.NDArray[np.generic]]:
    for name in node.input:
        if (tensor := view.constant(name)) is not None:
            yield numpy_helper.to_array(tensor)


def _varies_by_box(view: GraphView, node: onnx.NodeProto, num_boxes: int) -> bool:
    """Tell whether a node's constant has a value for each box or cell, and not only for each channel."""
    for values in _constants(view, node):
        long = [size for size in values.shape if size > 1]
        if len(long) > 1 or long == [num_boxes]:
            return True
    return False
