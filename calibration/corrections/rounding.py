"""Learned rounding: each weight goes to the grid point above or below it, whichever keeps its convolution's output.

Source: M. Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (AdaRound), arXiv 2004.10568:
equation 21 for the objective, 23 and 24 for the rectified sigmoid and the regulariser that drives it to 0 or 1. Inputs
are windows of the convolution's input in the FP32 network, rounded to their grid as on the device. Biases and the
activation behind are left out, so that a convolution is computed by matrix products alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ssd_edge.calibration.network.network import Network
from ssd_edge.calibration.network.qdq import Int8Weight
from ssd_edge.calibration.scales.calibrators import LARGEST
from ssd_edge.calibration.scales.observe import session
from ssd_edge.graph.fp32 import initializers, to_array, with_outputs
from ssd_edge.progress import Progress, no_progress

Floats = npt.NDArray[np.float32]

# The rectified sigmoid reaches beyond 0 and 1, so that it can take both values.
_STRETCH, _SHIFT = np.float32(1.2), np.float32(-0.1)
_BATCH = 256
_STEPS = 500
_WARM_UP = 0.2
_RATE = np.float32(0.1)
_PUSH = np.float32(3)
_STEEPEST, _FLATTEST = 20.0, 2.0


def can_learn(network: Network) -> list[str]:
    """Return the names of the INT8 convolutions whose rounding can be learned: 2-D, one group, explicit padding."""
    constants = initializers(network.model)
    nodes = {node.name: node for node in network.model.graph.node}
    return [
        convolution.name
        for convolution in network.placement.convolutions
        if len(constants[convolution.weight].dims) == 4
        and _attributes(nodes[convolution.name]).get("group", 1) == 1
        and _attributes(nodes[convolution.name]).get("auto_pad", b"NOTSET") == b"NOTSET"
    ]


def windows(
    network: Network, names: Sequence[str], images: Iterable[Floats], per_image: int = 64, seed: int = 0
) -> dict[str, Floats]:
    """Collect the inputs of convolutions at random places of their outputs: (P, I·kh·kw) float32 by name.

    Args:
        network: the FP32 network.
        names: names of convolutions, from ``can_learn``.
        images: (1, 3, H, W) float32 each, preprocessed.
        per_image: number of places for each image and convolution.
        seed: random seed for the places.
    """
    rng = np.random.default_rng(seed)
    constants = initializers(network.model)
    nodes = {node.name: node for node in network.model.graph.node if node.name in set(names)}
    read = tuple(dict.fromkeys(node.input[0] for node in nodes.values()))
    runtime = session(with_outputs(network.model, read))
    (entry,) = runtime.get_inputs()
    given = [name for name in read if name != entry.name]
    collected: dict[str, list[Floats]] = {name: [] for name in names}
    for image in images:
        values = dict(zip(given, runtime.run(given, {entry.name: image}) if given else [], strict=True))
        values[entry.name] = image
        for name, node in nodes.items():
            kernel = tuple(constants[node.input[1]].dims[2:])
            collected[name].append(_windows(values[node.input[0]][0], node, kernel, per_image, rng))
    return {name: np.concatenate(parts) for name, parts in collected.items()}


def learned(
    network: Network,
    scales: Mapping[str, float],
    weights: Mapping[str, Int8Weight],
    seen: Mapping[str, Floats],
    progress: Progress = no_progress,
) -> dict[str, Int8Weight]:
    """Learn the rounding of the weights of convolutions that have windows; return the other weights unchanged.

    Args:
        network: the FP32 network.
        scales: scale of each tensor that has a pair.
        weights: weights rounded to the nearest step, by name of the weight.
        seen: results of ``windows``, by name of the convolution.
        progress: called with the number of convolutions done.
    """
    constants = initializers(network.model)
    result = dict(weights)
    chosen = [convolution for convolution in network.placement.convolutions if convolution.name in seen]
    for number, convolution in enumerate(chosen):
        weight = weights[convolution.weight]
        float_weight = to_array(constants[convolution.weight]).reshape(len(weight.scale), -1)
        steps = round_by_output(float_weight, weight.scale, seen[convolution.name], scales[convolution.entry])
        result[convolution.weight] = Int8Weight(steps.reshape(weight.steps.shape), weight.scale)
        progress(number + 1, len(chosen))
    return result


def round_by_output(
    weight: Floats, scale: Floats, inputs: Floats, input_scale: float, seed: int = 0
) -> npt.NDArray[np.int8]:
    """Round a weight (O, K) to steps (O, K) int8 whose outputs for these inputs are closest to the float outputs.

    Args:
        weight: (O, K) float32.
        scale: (O,) scales of the weight's grid.
        inputs: (P, K) float32.
        input_scale: scale of the inputs' grid.
        seed: random seed for the batches.

    Returns:
        Steps that are no worse on the inputs than rounding to the nearest, which is kept for each channel where
        learning did not help.
    """
    step = scale[:, None]
    on_grid = np.clip(np.rint(inputs / np.float32(input_scale)), -LARGEST, LARGEST) * np.float32(input_scale)
    nearest = np.clip(np.rint(weight / step), -LARGEST, LARGEST)
    wanted = inputs @ weight.T
    below = np.floor(weight / step)
    share = weight / step - below
    # Start where the rectified sigmoid gives the float weight itself.
    v = -np.log(_STRETCH / (share - _SHIFT) - 1).astype(np.float32)
    unit = np.float32(((on_grid @ (nearest * step).T - wanted) ** 2).mean() + 1e-20)
    moment, square = np.zeros_like(v), np.zeros_like(v)
    rng = np.random.default_rng(seed)
    for number in range(_STEPS):
        rows = rng.integers(0, len(inputs), min(_BATCH, len(inputs)))
        sigmoid = 1 / (1 + np.exp(-v))
        raw = sigmoid * _STRETCH + _SHIFT
        up = np.clip(raw, 0, 1)
        error = on_grid[rows] @ ((below + up) * step).T - wanted[rows]
        gradient = (error.T @ on_grid[rows]) * (step * (2 * len(weight[0]) / (unit * len(rows))))
        done = (number / _STEPS - _WARM_UP) / (1 - _WARM_UP)
        if done > 0:
            steepness = _FLATTEST + (_STEEPEST - _FLATTEST) * 0.5 * (1 + np.cos(np.pi * done))
            middle = 2 * up - 1
            gradient -= _PUSH * 2 * steepness * np.sign(middle) * np.abs(middle) ** (steepness - 1)
        gradient *= ((raw > 0) & (raw < 1)) * (_STRETCH * sigmoid * (1 - sigmoid))
        moment += 0.1 * (gradient - moment)
        square += 0.001 * (gradient**2 - square)
        corrected = moment / (1 - 0.9 ** (number + 1))
        v -= _RATE * corrected / (np.sqrt(square / (1 - 0.999 ** (number + 1))) + 1e-8)
    chosen = np.clip(below + (v > np.float32(-np.log(_STRETCH / (0.5 - _SHIFT) - 1))), -LARGEST, LARGEST)
    errors = [((on_grid @ (steps * step).T - wanted) ** 2).mean(axis=0) for steps in (nearest, chosen)]
    return np.asarray(np.where((errors[1] < errors[0])[:, None], chosen, nearest), np.int8)


def _windows(x: Floats, node: onnx.NodeProto, kernel: tuple[int, ...], number: int, rng: np.random.Generator) -> Floats:
    """Cut windows (number, I·kh·kw) out of an input (I, H, W), at random places of the convolution's output."""
    given = _attributes(node)
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    places, offsets = [], []
    for axis in range(2):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        size = (padded.shape[1 + axis] - reach) // strides[axis] + 1
        places.append(rng.integers(0, size, number) * strides[axis])
        offsets.append(np.arange(kernel[axis]) * dilations[axis])
    rows = (places[0][:, None] + offsets[0])[:, None, :, None]
    columns = (places[1][:, None] + offsets[1])[:, None, None, :]
    channels = np.arange(len(x))[None, :, None, None]
    return np.ascontiguousarray(padded[channels, rows, columns].reshape(number, -1))


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
