"""Cross-layer equalisation: channels that differ in size are brought closer, so that one scale suits them all.

Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv 1906.04721,
section 4.1. Behind a ReLU, or nothing, a convolution's output channel may be made s times as large if what reads it
divides by s: the network computes the same. Weights have a scale for each channel anyway, activations one for all; so
here s comes from the ranges of activations, s = √(largest range / range of the channel), as G. Xiao et al.,
"SmoothQuant", arXiv 2211.10438, equation 4 with α = ½, share it between activation and weight.

ReLU6 is no ReLU: made s times as large, a channel is cut at 6/s of what it was. It is made larger only as far as no
image reaches that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ssd_edge.calibration.calibrate import Network
from ssd_edge.calibration.scales.observe import session
from ssd_edge.graph.fp32 import initializers, to_array, with_outputs
from ssd_edge.graph.view import GraphView, groups_of

Floats = npt.NDArray[np.float32]

_MOST = 16.0
"""A channel is made larger by no more: what is nearly always 0 would else become all there is."""


@dataclass(frozen=True)
class Joint:
    """A tensor whose channels can be scaled.

    Attributes:
        tensor: between its maker, behind the activation, and its readers.
        maker: name of the convolution that makes it.
        readers: names of the convolutions that read it; nothing else does.
        ceiling: where the activation cuts; infinite behind a ReLU.
    """

    tensor: str
    maker: str
    readers: tuple[str, ...]
    ceiling: float


def equalise(network: Network, images: Iterable[Floats]) -> Network:
    """The network with its channels brought closer, where INT8 convolutions read them; its pairs stay where they are.

    Args:
        network: not observed yet: the histograms change.
        images: (1, 3, H, W) float32 each, preprocessed; a few dozen suffice.
    """
    read = {convolution.entry for convolution in network.placement.convolutions}
    tensors = [joint.tensor for joint in joints(network.model) if joint.tensor in read]
    return replace(network, model=equalised(network.model, channel_ranges(network.model, tensors, images)))


def joints(model: onnx.ModelProto) -> list[Joint]:
    """All of them, in the graph's order.

    Args:
        model: as ``read_heads`` gives it.
    """
    view = GraphView(model)
    constants, readers, outputs = view.constants, view.readers, view.outputs

    def scalable(node: onnx.NodeProto) -> bool:
        if node.op_type != "Conv" or not set(node.input[1:]) - {""} <= constants.keys():
            return False
        return all(len(readers[name]) == 1 for name in node.input[1:] if name)

    found = []
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
        found.append(Joint(tensor, maker.name, tuple(node.name for node in reading), ceiling))
    return found


def channel_ranges(model: onnx.ModelProto, tensors: Iterable[str], images: Iterable[Floats]) -> dict[str, Floats]:
    """The largest |x| of each channel (C,) over the images.

    Args:
        model: FP32.
        tensors: names, none of them the image's.
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
    """A copy that computes the same on these images, its channels closer in size.

    Args:
        model: as ``read_heads`` gives it.
        ranges: of the tensors of its joints; joints without are left as they are.
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
            # A depthwise weight (C, 1, …) has its input channel first, as it is its output channel.
            _scale(constants[reader.input[1]], np.float32(1) / factors, axis=0 if groups_of(reader) > 1 else 1)
    return result


def _factors(ranges: Floats, ceiling: float) -> Floats:
    """Powers of two, so that nothing is rounded: the network computes the very same."""
    positive = ranges > 0
    if not positive.any():
        return np.ones_like(ranges)
    safe = np.where(positive, ranges, ranges.max())
    wanted = np.minimum(np.sqrt(safe.max() / safe), _MOST)
    room = ceiling / safe
    return np.asarray(np.exp2(np.floor(np.log2(np.maximum(1, np.minimum(wanted, room))))), np.float32)


def _ceiling(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> float | None:
    """Where a Relu or Clip cuts what is above zero; None if it cannot be scaled through."""
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
