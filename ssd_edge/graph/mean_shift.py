"""Correction of biases for the mean shift that weights on another grid cause in a convolution's output.

A weight that is rounded again has an error that is the same at every pixel, and inputs behind a ReLU have a mean that
is not 0: their product shifts the output. This is the correction of ``calibration.bias``, but computed from the mean of
the input by channel, so that a handful of images is enough, such as those of a proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ssd_edge.graph.fp32 import initializers, with_outputs
from ssd_edge.graph.session import EXACT, open_session
from ssd_edge.graph.view import GraphView, drop_unread_constants

Floats = npt.NDArray[np.float64]


def absorb_shift(model: onnx.ModelProto, before: onnx.ModelProto, images: Sequence[npt.NDArray[np.float32]]) -> int:
    """Correct the biases of a model in place.

    Args:
        model: the model whose weights are on another grid than in ``before``.
        before: the same nodes with their first weights: Q/DQ, weights as int8 constants.
        images: (1, 3, H, W) float32 each, preprocessed.

    Returns:
        Number of corrected convolutions; those without a constant weight or bias stay as they are.
    """
    old, new = _weights(before), _weights(model)
    changed = [node for node in _convolutions(model) if node.output[0] in old.keys() & new.keys()]
    if not images or not changed:
        return 0
    means = _means(before, [node.input[0] for node in changed], images)
    constants = initializers(model)
    number = 0
    for node in changed:
        has_bias = len(node.input) > 2 and bool(node.input[2])
        if has_bias and node.input[2] not in constants:
            continue
        difference = (new[node.output[0]] - old[node.output[0]]).sum(axis=tuple(range(2, new[node.output[0]].ndim)))
        bias = numpy_helper.to_array(constants[node.input[2]]) if has_bias else np.zeros(len(difference))
        corrected = bias - _shift(difference, means[node.input[0]])
        name = f"{node.output[0]}_shifted_bias"
        model.graph.initializer.append(numpy_helper.from_array(corrected.astype(np.float32), name))
        node.input[:] = [*node.input[:2], name]
        number += 1
    drop_unread_constants(model)
    return number


def _shift(difference: Floats, means: Floats) -> Floats:
    """Compute the shift (O,): a weight's change, summed over its window (O, I/groups), times the channel means (I,)."""
    groups = len(means) // difference.shape[1]
    by_group = difference.reshape(groups, -1, difference.shape[1])
    return np.asarray(np.einsum("goi,gi->go", by_group, means.reshape(groups, -1)).reshape(-1))


def _convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv"]


def _weights(model: onnx.ModelProto) -> dict[str, Floats]:
    """Return dequantised weights (O, I/groups, …), by the name of their convolution's output."""
    view, weights = GraphView(model), {}
    constants = view.constants
    for node in _convolutions(model):
        dequantise = view.maker.get(node.input[1])
        if dequantise is None or not {*dequantise.input[:2]} <= constants.keys():
            continue
        steps, scale = (numpy_helper.to_array(constants[name]) for name in dequantise.input[:2])
        zero = constants.get(dequantise.input[2]) if len(dequantise.input) > 2 else None
        offset = np.zeros(()) if zero is None else numpy_helper.to_array(zero)
        by_channel = (-1, *[1] * (steps.ndim - 1))
        scale, offset = (value.reshape(by_channel) if value.ndim else value for value in (scale, offset))
        weights[node.output[0]] = (steps.astype(np.float64) - offset) * scale
    return weights


def _means(
    model: onnx.ModelProto, tensors: Sequence[str], images: Sequence[npt.NDArray[np.float32]]
) -> Mapping[str, Floats]:
    """Compute the mean by channel (C,) of tensors (1, C, H, W) over images and places."""
    names = list(dict.fromkeys(tensors))
    session = open_session(with_outputs(model, names), settings=EXACT)
    (entry,) = session.get_inputs()
    sums = [np.zeros(())] * len(names)
    for image in images:
        values = session.run(names, {entry.name: image})
        sums = [total + value.mean(axis=(0, 2, 3), dtype=np.float64) for total, value in zip(sums, values, strict=True)]
    return {name: total / len(images) for name, total in zip(names, sums, strict=True)}
