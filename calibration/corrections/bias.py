"""Bias correction: subtract from each bias the mean error that quantisation adds to the convolution's output.

Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv 1906.04721,
section 4.2. Means are taken over images, as in its appendix D, but for each convolution by itself: its input comes from
the FP32 network, so that one pass over the images serves all convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ssd_edge.calibration.network.network import Network
from ssd_edge.calibration.network.qdq import Int8Weight
from ssd_edge.calibration.scales.observe import session
from ssd_edge.graph.fp32 import initializers, to_array
from ssd_edge.graph.view import drop_unread_constants

_TWIN = "ssd_edge_twin_"

Shifts = Mapping[str, npt.NDArray[np.float64]]
"""Mean error that quantisation adds to each output channel (O,), by the name of the convolution."""


def output_shifts(
    network: Network,
    scales: Mapping[str, float],
    weights: Mapping[str, Int8Weight],
    images: Iterable[npt.NDArray[np.float32]],
) -> dict[str, npt.NDArray[np.float64]]:
    """Measure the shifts of all convolutions, see ``Shifts``.

    Args:
        network: the FP32 network.
        scales: scale of each tensor that has a pair.
        weights: quantised weights, by name.
        images: (1, 3, H, W) float32, preprocessed.
    """
    names = [convolution.name for convolution in network.placement.convolutions]
    runtime = session(_with_twins(network, scales, weights).SerializeToString())
    (entry,) = runtime.get_inputs()
    sums = [np.float64(0)] * len(names)
    num_images = 0
    for image in images:
        means = runtime.run([_TWIN + name for name in names], {entry.name: image})
        sums = [total + mean.reshape(-1).astype(np.float64) for total, mean in zip(sums, means, strict=True)]
        num_images += 1
    return {name: np.asarray(total / num_images) for name, total in zip(names, sums, strict=True)}


def corrected(network: Network, shifts: Shifts) -> Network:
    """Return a copy of the network whose biases make up for the shifts."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    constants = initializers(network.model)
    for node in model.graph.node:
        if node.name in shifts:
            has_bias = len(node.input) > 2 and node.input[2]
            old = to_array(constants[node.input[2]]) if has_bias else np.float32(0)
            name = f"{node.name}_corrected_bias"
            model.graph.initializer.append(numpy_helper.from_array((old - shifts[node.name]).astype(np.float32), name))
            node.input[:] = [*node.input[:2], name]
    drop_unread_constants(model)
    return replace(network, model=model)


def _with_twins(network: Network, scales: Mapping[str, float], weights: Mapping[str, Int8Weight]) -> onnx.ModelProto:
    """Copy the FP32 network, add a quantised twin beside each convolution, and output their mean difference."""
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    chosen = {convolution.name: convolution for convolution in network.placement.convolutions}
    zero = f"{_TWIN}zero_point"
    constants: dict[str, npt.NDArray[np.generic]] = {zero: np.zeros((), np.int8)}
    nodes = []
    for node in network.model.graph.node:
        nodes.append(node)
        if node.name not in chosen:
            continue
        convolution, name = chosen[node.name], _TWIN + node.name
        weight = weights[convolution.weight]
        constants[f"{name}_scale"] = np.asarray(scales[convolution.entry], np.float32)
        constants[f"{name}_weight"] = weight.steps * weight.scale.reshape(-1, *[1] * (weight.steps.ndim - 1))
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name, twin.output[0] = f"{name}_twin", f"{name}_twin"
        twin.input[:] = [f"{name}_dequantised", f"{name}_weight", *node.input[2:]]
        grid = [f"{name}_scale", zero]
        nodes += [
            helper.make_node("QuantizeLinear", [convolution.entry, *grid], [f"{name}_quantised"]),
            helper.make_node("DequantizeLinear", [f"{name}_quantised", *grid], [f"{name}_dequantised"]),
            twin,
            helper.make_node("Sub", [twin.output[0], node.output[0]], [f"{name}_difference"]),
            helper.make_node("GlobalAveragePool", [f"{name}_difference"], [name]),
        ]
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return model
