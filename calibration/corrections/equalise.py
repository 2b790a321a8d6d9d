"""Cross-layer equalisation: brings the ranges of channels closer together, so that one scale suits them all.

Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv 1906.04721,
section 4.1. If only a ReLU or nothing follows a convolution, its output channel may be made s times as large if its
readers divide by s: the network computes the same. Weights have a scale for each channel anyway, activations one for
all channels. So here s comes from the ranges of activations, s = √(largest range / range of the channel). The square
root splits the difference between activation and weight, as G. Xiao et al., "SmoothQuant", arXiv 2211.10438, equation 4
with α = ½.

ReLU6 does not scale like a ReLU: in a channel made s times as large it cuts at 6/s of the former values. So the channel
is made larger only as far as no image reaches that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ssd_edge.calibration.network.network import Network
from ssd_edge.calibration.scales.observe import session
from ssd_edge.graph.fp32 import initializers, to_array, with_outputs
from ssd_edge.graph.view import GraphView, groups_of

Floats = npt.NDArray[np.float32]

_LARGEST_FACTOR = 16.0
"""The largest factor for a channel: without this limit, a channel that is nearly always 0 would dominate."""


@dataclass(frozen=True)
class Joint:
    """A tensor between convolutions whose channels can be scaled.

    Attributes:
        tensor: its name; it is behind the maker's activation.
        maker: name of the convolution that makes it.
        readers: names of the convolutions that read it; nothing else reads it.
        ceiling: the value at which the activation clips; infinite for a ReLU.
    """

    tensor: str
    maker: str
    readers: tuple[str, ...]
    ceiling: float


def equalise(network: Network, images: Iterable[Floats]) -> Network:
    """Equalise the channels that INT8 convolutions read; the placement of pairs stays the same.

    Args:
        network: the FP32 network, not observed yet, since its histograms change.
        images: (1, 3, H, W) float32 each, preprocessed; a few dozen suffice.
    """
    read = {convolution.entry for convolution in network.placement.convolutions}
    tensors = [joint.tensor for joint in joints(network.model) if joint.tensor in read]
    return replace(network, model=equalised(network.model, channel_ranges(network.model, tensors, images)))


def joints(model: onnx.ModelProto) -> list[Joint]:
    """Return all joints of a model, in the graph's order.

    Args:
        model: the FP32 model, as ``read_heads`` returns it.
    """
    view = GraphView(model)
    constants, readers, outputs = view.constants, view.readers, view.outputs

    def scalable(node: onnx.NodeProto) -> bool:
        if node.op_type != "Conv" or not set(node.input[1:]) - {""} <= constants.keys():
            return False
        return all(len(readers[name]) == 1 for name in node.input[1:] if name)

    scalable_joints = []
    for maker in model.graph.node:
        if not scalable(maker):
            continue
        tensor, ceiling = maker.output[0], float("inf")
        activation = view.only_reader(tensor)
        if activation is not None and activation.op_type in {"Clip", "Relu"}:
            cut = _ceiling(activation, constants)
            if cut is None:
                continue
            tensor, ceiling = activation.output[0], cut
        reading = readers[tensor]
        if tensor in outputs or not reading or not all(map(scalable, reading)):
            continue
        if not all(_dense_or_depthwise(node, constants) for node in reading):
            continue
        scalable_joints.append(Joint(tensor, maker.name, tuple(node.name for node in reading), ceiling))
    return scalable_joints


def channel_ranges(model: onnx.ModelProto, tensors: Iterable[str], images: Iterable[Floats]) -> dict[str, Floats]:
    """Measure the largest |x| of each channel (C,) over the images, by tensor.

    Args:
        model: the FP32 model.
        tensors: names of tensors; the image is not one of them.
        images: (1, 3, H, W) float32 each, preprocessed.
    """
    names = list(tensors)
    runtime = session(with_outputs(model, names))
    (entry,) = runtime.get_inputs()
    ranges: dict[str, Floats] = {}
    for image in images:
        for name, value in zip(names, runtime.run(names, {entry.name: image}) if names else [], strict=True):
            largest = np.asarray(np.abs(value).max(axis=(0, 2, 3)), np.float32)
            ranges[name] = np.maximum(ranges.get(name, largest), largest)
    return ranges


def equalised(model: onnx.ModelProto, ranges: Mapping[str, Floats]) -> onnx.ModelProto:
    """Return an equalised copy, which computes the same on the images that the ranges come from.

    Args:
        model: the FP32 model, as ``read_heads`` returns it.
        ranges: ranges of channels, see ``channel_ranges``; a joint whose tensor is missing is left unchanged.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = {node.name: node for node in result.graph.node}
    constants = initializers(result)
    for joint in joints(model):
        if joint.tensor not in ranges:
            continue
        factors = _factors(ranges[joint.tensor], joint.ceiling)
        maker = nodes[joint.maker]
        for name in (name for name in maker.input[1:] if name):
            _scale(constants[name], factors, axis=0)
        for reader in (nodes[name] for name in joint.readers):
            # A depthwise weight (C, 1, …) has its input channel on axis 0, since it is also the output channel.
            _scale(constants[reader.input[1]], np.float32(1) / factors, axis=0 if groups_of(reader) > 1 else 1)
    return result


def _factors(ranges: Floats, ceiling: float) -> Floats:
    """Return the factors (C,): powers of two, so that nothing is rounded and the network computes exactly the same."""
    positive = ranges > 0
    if not positive.any():
        return np.ones_like(ranges)
    safe = np.where(positive, ranges, ranges.max())
    wanted = np.minimum(np.sqrt(safe.max() / safe), _LARGEST_FACTOR)
    room = ceiling / safe
    return np.asarray(np.exp2(np.floor(np.log2(np.maximum(1, np.minimum(wanted, room))))), np.float32)


def _ceiling(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> float | None:
    """Return the value at which a Relu or Clip cuts; None if channels cannot be scaled through it."""
    if node.op_type == "Relu":
        return float("inf")
    if len(node.input) < 2 or node.input[1] not in constants:
        return None
    if float(to_array(constants[node.input[1]])) != 0:
        return None
    if len(node.input) < 3 or not node.input[2]:
        return float("inf")
    return float(to_array(constants[node.input[2]])) if node.input[2] in constants else None


def _dense_or_depthwise(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    groups, shape = groups_of(node), constants[node.input[1]].dims
    return groups == 1 or (shape[1] == 1 and shape[0] == groups)


def _scale(tensor: onnx.TensorProto, factors: Floats, axis: int) -> None:
    values = to_array(tensor)
    shape = [1] * values.ndim
    shape[axis] = -1
    tensor.CopyFrom(numpy_helper.from_array((values * factors.reshape(shape)).astype(np.float32), tensor.name))
