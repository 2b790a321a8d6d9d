"""Refuse heads that are not raw: with NMS or decode inside, or with probabilities in place of logits."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import onnx

from ssd_edge.errors import ModelError
from ssd_edge.graph.behind_heads import decode_between, factor_of_channels, heads_behind, kind_of_suppression
from ssd_edge.graph.session import open_session
from ssd_edge.graph.view import GraphView, name_of
from ssd_edge.preprocess import preprocess
from ssd_edge.spec import ModelSpec

_SLACK = 0.02
"""How far a sum of FP16 or INT8 probabilities may lie from 1."""


def refuse_suppression(model: onnx.ModelProto, node: onnx.NodeProto, spec: ModelSpec, source: Path) -> NoReturn:
    """Refuse a file whose outputs come from NMS, and name the heads in front of it where they are clear.

    Args:
        model: the file as it came.
        node: what does NMS; its first two inputs are boxes and scores.
        spec: the description.
        source: the file.
    """
    boxes, scores = ([*node.input, "", ""])[:2]
    raise ModelError(
        f"{source} does NMS itself, in node {name_of(node)!r} ({kind_of_suppression(node)}): export it without "
        f"post-processing, so that its outputs are the raw heads{_or_name(model, spec, loc=boxes, logits=scores)}"
    )


def refuse_decoded(view: GraphView, loc: str, spec: ModelSpec, original: onnx.ModelProto, source: Path) -> None:
    """Refuse a regression output that decode has already turned into boxes, or multiplied by the variances.

    Args:
        view: the graph with its constants folded.
        loc: the regression output.
        spec: the description.
        original: the file as it came, whose tensors a user can name.
        source: the file.

    Raises:
        ModelError: part of decode stands between the last convolution and ``loc``.
    """
    node = decode_between(view, loc, spec.num_default_boxes)
    if node is not None:
        raise ModelError(
            f"{source}: the boxes in {loc!r} are decoded already, since node {name_of(node)!r} ({node.op_type}) stands "
            "between the last convolution and them: export the raw regression head"
            f"{_or_name(original, spec, loc=loc)}"
        )
    factor = factor_of_channels(view, loc)
    if factor is not None and np.allclose(factor, np.repeat(spec.variances, 2), rtol=1e-3):
        raise ModelError(
            f'{source} multiplies {loc!r} by its variances {list(spec.variances)} already: write "variances": [1, 1]'
        )


def refuse_probabilities(
    model: onnx.ModelProto, spec: ModelSpec, output: str, original: onnx.ModelProto, source: Path
) -> None:
    """Refuse a class output that holds probabilities, by a trial run on a few pictures.

    Args:
        model: heads with the outputs ``loc`` and ``logits``.
        spec: the description.
        output: the class output's name in the file.
        original: the file as it came, whose tensors a user can name.
        source: the file.

    Raises:
        ModelError: the values are those of a softmax or a sigmoid.
    """
    session = open_session(model.SerializeToString())
    values = np.concatenate(
        [session.run(["logits"], {"image": preprocess(picture, spec)})[0].ravel() for picture in _pictures()]
    ).reshape(-1, spec.num_classes)
    if not (values.min() >= 0 and values.max() <= 1 and values.min() < values.max()):  # also NaN
        return
    sums_to_one = bool(np.abs(values.sum(axis=1) - 1).max() < _SLACK)
    seen = "each row of a trial run lies in 0 … 1 and sums to 1" if sums_to_one else "a trial run lies in 0 … 1"
    raise ModelError(
        f"{source}: {output!r} holds probabilities instead of logits, since {seen}: export it without its "
        f"{'softmax' if sums_to_one else 'sigmoid'}{_or_name(original, spec, logits=output)}"
    )


def _pictures() -> list[npt.NDArray[np.uint8]]:
    """Draw a grey picture, noise and a coarse pattern."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (64, 64, 3), np.uint8)
    coarse = random.integers(0, 256, (4, 4, 3), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    return [np.full((64, 64, 3), 128, np.uint8), noise, coarse]


def _or_name(model: onnx.ModelProto, spec: ModelSpec, **tensors: str) -> str:
    """Advise the options that name the raw heads inside the file; empty where they are not clear.

    Args:
        model: the file as it came.
        spec: the description.
        tensors: by role, ``loc`` or ``logits``, what is computed from that head.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except onnx.shape_inference.InferenceError:
        return ""
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    view, last = GraphView(model), {"loc": 4, "logits": spec.num_classes}
    options = []
    for role, tensor in tensors.items():
        names = [
            name
            for name in sorted(heads_behind(view, tensor))
            if shapes.get(name) == [1, spec.num_default_boxes, last[role]]
        ]
        if len(names) != 1:
            return ""
        options.append(f"--{role} {names[0]}")
    return f", or take what stands before that: {' '.join(options)}"
