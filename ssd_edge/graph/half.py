"""Convert heads from FP32 to FP16, for runtimes that take each tensor's type from the file.

Weights, activations, the image and both outputs become FP16, half the bytes. The following stays in FP32, with a Cast
where the two meet:

- sums of squares, up to the division by their root: SSD300's L2Norm adds 512 squares, and FP16 ends at 65504;
- normalisations, for the same reason;
- INT8 parts: quantised convolutions with their scales and biases, and the activations between two of them. A kernel
  that rounds straight to INT8 need not round to FP16 first, and gives the numbers that were calibrated;
- inputs and operators for which ONNX has no FP16.

Two other converters were tried on SSD300. The one in onnxruntime.transformers 1.32 casts to FP16 and back between
neighbours that stay in FP32, so that the sum of squares overflows after all, and leaves the nodes in an invalid order.
The one in onnxconverter-common 1.16 rounds scales, biases and constants to FP16 although FP32 nodes read them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssd_edge.errors import ModelError
from ssd_edge.machine.gpu_packages import missing

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    raise missing("onnx", "converting heads to FP16") from None

from ssd_edge.graph.files import first_line
from ssd_edge.graph.operators import ACTIVATIONS, NORMALISATIONS

LARGEST = float(np.finfo(np.float16).max)

_SUMS = {"Pow", "ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare"}
# Operators that may stand between a sum of squares and the division by its root.
_JOINING = {"Add", "Div", "Max", "Mul", "Pow"}
_UNTIL_DIVIDED = _JOINING | {"Clip", "Expand", "Identity", "Reciprocal", "Reshape", "Sqrt", "Squeeze", "Unsqueeze"}
_BETWEEN_INT8 = ACTIVATIONS | {"MaxPool"}
_BOUNDED = {"Clip": {1, 2}}
"""Inputs whose FP32 extremes mean "no bound"."""

_FLOAT, _HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy FP32 heads, plain or with Q/DQ, to FP16.

    Raises:
        ModelError: a weight is not finite or above 65504, or an operator is not one of ONNX's own.
    """
    _refuse(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        result = _Converter(inferred).converted()
        onnx.checker.check_model(result, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"these heads cannot be converted to FP16: {first_line(error)}") from None
    return result


def kept_in_float(graph: onnx.GraphProto) -> set[str]:
    """Find the nodes that stay in FP32, by the names of their first outputs.

    Nodes must stand in the order of execution, as ONNX requires.
    """
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    kept: set[str] = set()
    sums: set[str] = set()
    dequantised: set[str] = set()
    for node in graph.node:
        read = [name for name in node.input if name]
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            dequantised.update(node.output if node.op_type == "DequantizeLinear" else ())
        elif dequantised.intersection(read) or node.op_type in NORMALISATIONS:
            pass
        elif node.op_type in _SUMS or (node.op_type == "Mul" and len(set(read)) == 1):
            sums.update(node.output)
        elif node.op_type in _UNTIL_DIVIDED and sums.intersection(read):
            # An input that does not come from the sum means that this node is the division, where the chain ends.
            if sums.union(constants).issuperset(read if node.op_type in _JOINING else read[:1]):
                sums.update(node.output)
        else:
            continue
        kept.add(node.output[0])
    return kept | _between(graph, kept)


def _between(graph: onnx.GraphProto, kept: set[str]) -> set[str]:
    """Activations that lie only between FP32 nodes, directly or through other such activations."""
    outputs = {value.name for value in graph.output}
    activations: set[str] = set()
    for node in graph.node:
        if node.op_type in _BETWEEN_INT8 and node.input[0] in kept | activations:
            activations.add(node.output[0])
    for node in reversed(graph.node):
        if node.output[0] in activations and node.output[0] in outputs:
            activations.discard(node.output[0])
        if node.output[0] not in kept | activations:
            activations.difference_update(node.input)
    return activations


class _Converter:
    """Converts in one pass over the nodes; a float tensor exists in FP16, in FP32, or in both with a Cast between."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        graph = model.graph
        self._opset = next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})
        self._kept = kept_in_float(graph)
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        values = (*graph.input, *graph.value_info, *graph.output)
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        types |= {name: tensor.data_type for name, tensor in self._weights.items()}
        self._floats = {name for name, kind in types.items() if kind == _FLOAT}
        self._outputs = {value.name for value in graph.output}
        self._names = {*types, *(name for node in graph.node for name in (*node.input, *node.output))}
        self._forms: dict[tuple[str, int], str] = {
            (value.name, _HALF): value.name for value in graph.input if value.name in self._floats
        }
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def converted(self) -> onnx.ModelProto:
        """Convert the model; the one given to the constructor is not changed."""
        graph = self._model.graph
        for node in graph.node:
            self._convert(node)
        result = onnx.ModelProto()
        result.CopyFrom(self._model)
        del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
        result.graph.node.extend(self._nodes)
        result.graph.initializer.extend(tensor for tensor in graph.initializer if tensor.name not in self._floats)
        result.graph.initializer.extend(self._constants)
        for value in (*result.graph.input, *result.graph.output):
            if value.name in self._floats:
                value.type.tensor_type.elem_type = _HALF
        return result

    def _convert(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Constant":
            self._weights[node.output[0]] = _constant(node)
            if node.output[0] not in self._floats:
                self._nodes.append(node)
            return
        kept = node.output[0] in self._kept
        schema = onnx.defs.get_schema(node.op_type, self._opset, "")
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for place, name in enumerate(node.input):
            if name in self._floats:
                half = not kept and _takes_half(schema.inputs, place)
                copy.input[place] = self._form(name, _HALF if half else _FLOAT, place in _BOUNDED.get(node.op_type, ()))
        for attribute in copy.attribute:
            if not kept and attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == _FLOAT:
                attribute.t.CopyFrom(_halved(attribute.t, node.output[0], bound=False))
            elif not kept and node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
                attribute.i = _HALF
        self._nodes.append(copy)
        for place, name in enumerate(node.output):
            if name in self._floats:
                self._forms[name, _HALF if not kept and _takes_half(schema.outputs, place) else _FLOAT] = name
                if name in self._outputs and (name, _HALF) not in self._forms:
                    copy.output[place] = self._forms[name, _FLOAT] = self._new(f"{name}_fp32")
                    self._cast(copy.output[place], name, _HALF)

    def _form(self, name: str, kind: int, bound: bool) -> str:
        """Return the name of a float tensor in FP16 or FP32; convert it first if it does not exist in that type."""
        if (name, kind) not in self._forms:
            if name in self._weights:
                made = name if kind == _FLOAT else self._new(f"{name}_fp16")
                tensor = self._weights[name] if kind == _FLOAT else _halved(self._weights[name], name, bound)
                named = onnx.TensorProto()
                named.CopyFrom(tensor)  # a tensor may hold its values in one of several fields
                named.name = made
                self._constants.append(named)
                self._forms[name, kind] = made
            else:
                self._cast(self._forms[name, _other(kind)], self._new(f"{name}_{_SUFFIX[kind]}"), kind)
                self._forms[name, kind] = self._nodes[-1].output[0]
        return self._forms[name, kind]

    def _cast(self, source: str, target: str, kind: int) -> None:
        self._nodes.append(helper.make_node("Cast", [source], [target], f"{target}_Cast", to=kind))

    def _new(self, name: str) -> str:
        """Reserve a name that no tensor has yet."""
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


_SUFFIX = {_FLOAT: "fp32", _HALF: "fp16"}


def _other(kind: int) -> int:
    return _FLOAT if kind == _HALF else _HALF


def _takes_half(formal: Sequence[onnx.defs.OpSchema.FormalParameter], place: int) -> bool:
    """Whether ONNX defines an input or output for FP16; the last formal parameter stands for all that follow."""
    return "tensor(float16)" in formal[min(place, len(formal) - 1)].types


def _constant(node: onnx.NodeProto) -> onnx.TensorProto:
    """Tensor of a Constant node; a placeholder for text and sparse tensors, which no node that takes floats reads."""
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return numpy_helper.from_array(numpy_helper.to_array(value), node.output[0])
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    return numpy_helper.from_array(np.asarray(value if attribute.name in kinds else 0, kinds.get(attribute.name)))


def _halved(tensor: onnx.TensorProto, name: str, bound: bool) -> onnx.TensorProto:
    """Round a float tensor's values to FP16.

    Raises:
        ModelError: a value is not finite or too large; bounds (``bound``) are clipped instead.
    """
    values: npt.NDArray[np.float32] = numpy_helper.to_array(tensor)
    if bound:
        values = np.clip(values, -LARGEST, LARGEST)
    if not np.isfinite(values).all():
        raise ModelError(f"weight {name!r} holds NaN or infinite values: train or export the model again")
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        largest = float(np.abs(values).max())
        raise ModelError(
            f"weight {name!r} holds {largest:.4g}, and FP16 ends at {LARGEST:.0f}: build with --precision fp32"
        )
    return numpy_helper.from_array(half, name)


def _refuse(model: onnx.ModelProto) -> None:
    """Raise ModelError for custom operators and control flow, which the one pass cannot follow."""
    for node in model.graph.node:
        if node.domain not in {"", "ai.onnx"}:
            raise ModelError(f"node {node.name!r} is the custom operator {node.domain}.{node.op_type}")
        if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
            raise ModelError(f"node {node.name!r} is {node.op_type}, and heads must be free of control flow")
