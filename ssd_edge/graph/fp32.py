"""Reading FP32 heads from ONNX: refuses those that cannot be calibrated, and folds the rest into plain convolutions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssd_edge.errors import CalibrationError, MissingDependencyError, ModelError

try:
    import onnx
    from onnx import numpy_helper, version_converter
except ImportError:
    raise MissingDependencyError("onnx", "calibrate", "calibration") from None

from ssd_edge.graph.files import read_graph, read_weights, type_name
from ssd_edge.graph.fold import folded, images
from ssd_edge.graph.rewrite import activate_before_joining
from ssd_edge.graph.session import NONE, open_session
from ssd_edge.graph.view import is_depthwise

_FIRST_OPSET_PER_CHANNEL = 13
_OPSET_TO_CONVERT_TO = 17


@dataclass(frozen=True)
class Convolution:
    """A Conv node with a constant weight.

    Attributes:
        name: name of the node.
        entry: name of the tensor that it reads.
        weight: name of its weight, an initializer.
        depthwise: whether each output channel reads only one input channel.
    """

    name: str
    entry: str
    weight: str
    depthwise: bool


def read_to_calibrate(path: Path) -> onnx.ModelProto:
    """Read an ONNX file as ``read_graph`` does.

    Raises:
        CalibrationError: the file cannot be read, or is not ONNX.
    """
    try:
        return read_graph(path)
    except OSError as error:
        raise CalibrationError(f"cannot read {path}: {error.strerror}") from None
    except ModelError as error:
        raise CalibrationError(str(error)) from None


def read_heads(path: Path) -> onnx.ModelProto:
    """Read an FP32 model, fold BatchNormalization into its convolutions and compute constants.

    Activations behind a concatenation are moved before it.

    Raises:
        CalibrationError: the file is missing, is no ONNX model or already quantised, keeps weights outside its own
            folder, has no convolution, or does not have exactly one float32 image input of fixed height and width.
    """
    model = read_to_calibrate(path)
    _refuse(model, path)
    try:
        read_weights(model, path)
    except ModelError as error:
        raise CalibrationError(str(error)) from None
    model = _with_opset(_prepared(model, path), path)
    activate_before_joining(model)
    return model


def convolutions(model: onnx.ModelProto) -> list[Convolution]:
    """Return all convolutions with constant weights, in the graph's order."""
    weights = initializers(model)
    return [
        Convolution(node.name, node.input[0], node.input[1], is_depthwise(node, weights[node.input[1]]))
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1] in weights
    ]


def count_convolutions(model: onnx.ModelProto) -> int:
    """Count all Conv nodes, including those with computed weights."""
    return sum(node.op_type == "Conv" for node in model.graph.node)


def initializers(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Return the constant tensors by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def to_array(tensor: onnx.TensorProto) -> npt.NDArray[np.float32]:
    """Return the values of a float tensor."""
    return np.asarray(numpy_helper.to_array(tensor), np.float32)


def with_outputs(model: onnx.ModelProto, tensors: Collection[str]) -> bytes:
    """Serialise a copy of the model that also outputs these inner tensors."""
    wider = onnx.ModelProto()
    wider.CopyFrom(model)
    present = {value.name for value in (*model.graph.output, *model.graph.input)}
    # The name is enough, since ONNX Runtime infers the type.
    wider.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in present)
    return bytes(wider.SerializeToString())


def activations(model: onnx.ModelProto) -> list[str]:
    """Return the names of the image and of all float32 tensors that nodes output, in the graph's order."""
    made = [name for node in model.graph.node for name in node.output if name]
    session = open_session(with_outputs(model, made), level=NONE)
    float_tensors = {value.name for value in session.get_outputs() if value.type == "tensor(float)"}
    return [*(value.name for value in model.graph.input), *(name for name in made if name in float_tensors)]


def _refuse(model: onnx.ModelProto, path: Path) -> None:
    """Raise CalibrationError if the model cannot be calibrated."""
    kinds = {node.op_type for node in model.graph.node}
    if any(kind.startswith(("QuantizeLinear", "DequantizeLinear", "QLinear")) for kind in kinds):
        raise CalibrationError(f"{path} is already quantised: calibrate the FP32 model it was made from")
    if "Conv" not in kinds:
        raise CalibrationError(f"{path} has no convolution, so there is nothing to calibrate")
    inputs = images(model)
    if len(inputs) != 1:
        raise CalibrationError(f"{path} must have one input, the image, but has {len(inputs)}")
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        raise CalibrationError(f"{path} must take float32, but takes {type_name(tensor.elem_type).lower()}")
    batch, *rest = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim] or ["?"]
    if len(rest) != 3 or any(isinstance(side, str) for side in rest):
        raise CalibrationError(
            f"{path} must take images of (batch, 3, height, width), fixed but for the batch, "
            f"but its input {inputs[0].name!r} is of shape {(batch, *rest)}"
        )
    if isinstance(batch, int) and batch != 1:
        raise CalibrationError(f"{path} takes {batch} images at once: export it with a batch of 1 or a free one")


def _prepared(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Fold a model, drop the opsets that it does not use, and name its nodes."""
    try:
        result = folded(model)
    except ModelError as error:
        raise CalibrationError(f"ONNX Runtime cannot load {path}: {error}") from None
    used = {node.domain for node in result.graph.node} | {""}
    opsets = [opset for opset in result.opset_import if opset.domain in used]
    del result.opset_import[:]
    result.opset_import.extend(opsets)
    _name_nodes(result)
    return result


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give each node a unique name, since skip lists and reports refer to nodes by name."""
    seen: set[str] = set()
    for node in model.graph.node:
        if not node.name or node.name in seen:
            node.name = node.output[0]  # which is unique
        seen.add(node.name)


def _with_opset(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Convert a model to an opset that has scales per channel; leave it unchanged if its opset already has them."""
    opset = next(opset.version for opset in model.opset_import if opset.domain == "")
    if opset >= _FIRST_OPSET_PER_CHANNEL:
        return model
    try:
        newer: onnx.ModelProto = version_converter.convert_version(model, _OPSET_TO_CONVERT_TO)
    except Exception as error:  # the converter raises bare RuntimeErrors, and others
        raise CalibrationError(
            f"{path} is of opset {opset}, and INT8 per channel needs {_FIRST_OPSET_PER_CHANNEL} or later: "
            f"export it again (converting failed: {error})"
        ) from None
    del newer.metadata_props[:]
    newer.metadata_props.extend(model.metadata_props)
    return newer
