"""Import ONNX heads that someone else trained: with a short description, they become heads.onnx with a ModelSpec."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ssd_edge.description import read_description
from ssd_edge.errors import ModelError
from ssd_edge.files import sha256
from ssd_edge.graph.behind_heads import PASSING, softmax_by_hand, suppressions, without_suppression
from ssd_edge.graph.files import first_line, read_model, type_name
from ssd_edge.graph.fold import folded, images
from ssd_edge.graph.heads import write_heads
from ssd_edge.graph.session import open_session
from ssd_edge.graph.view import GraphView, with_inner
from ssd_edge.importing_checks import refuse_decoded, refuse_probabilities, refuse_suppression
from ssd_edge.spec import ModelSpec

OPSET = 20
_SCORE_FUNCTIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


def import_onnx(source: Path, description: Path, output: Path, loc: str = "", logits: str = "") -> ModelSpec:
    """Give foreign heads a spec and this project's names: input ``image``, outputs ``loc`` and ``logits``.

    Shape arithmetic is folded, and BatchNorm is fused into the convolutions. A last Softmax or Sigmoid is cut off,
    since decode applies the score function. Other outputs are left out. An input of open size is fixed to the
    description's size. What would be decoded twice is refused: decoded boxes, probabilities, and NMS.

    Args:
        source: ONNX file with one image input (1, 3, H, W), a regression output (1, A, 4) and a class output
            (1, A, C) whose class 0 is background.
        description: JSON file, or heads with a spec, see ``read_description``.
        output: the file to write.
        loc: name of the regression output, or of a tensor inside the network; found by its shape if empty.
        logits: name of the class output, or of a tensor inside the network; found by its shape if empty.

    Raises:
        SpecError: the description is not valid.
        ModelError: the ONNX file is not valid, or does not have such heads.
    """
    spec = read_description(description)
    model = _read(source)
    image = _image_input(model, spec, source)
    original = onnx.ModelProto()
    original.CopyFrom(model)
    suppressing = suppressions(model)
    _expose(model, loc, logits)
    if suppressing:
        without_suppression(model)
        if not model.graph.output:
            refuse_suppression(original, suppressing[0], spec, source)
    model, shapes = _simplified(model, image, spec, source)
    try:
        named = _outputs(shapes, spec, loc, logits, source)
    except ModelError:
        if suppressing:
            refuse_suppression(original, suppressing[0], spec, source)
        raise
    refuse_decoded(GraphView(model), named["loc"], spec, original, source)
    scores = _before_activation(model, named["logits"], spec, source)
    _keep_only(model, {image: "image", named["loc"]: "loc", scores: "logits"}, spec)
    refuse_probabilities(model, spec, named["logits"], original, source)
    spec = spec.with_provenance(parent=source.name, parent_sha256=sha256(source))
    try:
        write_heads(model, spec, output)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{source} cannot be imported: {first_line(error)}") from None
    return spec


def _read(source: Path) -> onnx.ModelProto:
    if not source.exists():
        raise ModelError(f"there is no file {source}")
    try:
        return read_model(source)
    except OSError as error:
        raise ModelError(f"cannot read {source}: {error.strerror}") from None


def _image_input(model: onnx.ModelProto, spec: ModelSpec, source: Path) -> str:
    """Return the name of the one input, and set open dimensions to the spec's input size."""
    wanted = (1, 3, *spec.input_size)
    inputs = [(value.name, tuple(dim.dim_value for dim in _dims(value))) for value in images(model)]
    fits = len(inputs) == 1 and len(inputs[0][1]) == 4
    if not fits or any(size not in (0, right) for size, right in zip(inputs[0][1], wanted, strict=True)):
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in inputs) or "none"
        raise ModelError(f"{source} must have one input {list(wanted)}, by its description, but has {listed}")
    (value,) = images(model)
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        kind = type_name(value.type.tensor_type.elem_type)
        raise ModelError(f"{source} must take FLOAT, but its input {value.name} is {kind}")
    for dim, size in zip(_dims(value), wanted, strict=True):
        dim.dim_value = size
    return str(value.name)


def _expose(model: onnx.ModelProto, *names: str) -> None:
    """Make tensors inside the network outputs of it, in place."""
    outputs = {value.name for value in model.graph.output}
    inside = {name for node in model.graph.node for name in node.output}
    for name in dict.fromkeys(names):
        if name in inside - outputs:
            model.graph.output.append(onnx.ValueInfoProto(name=name))


def _simplified(
    model: onnx.ModelProto, image: str, spec: ModelSpec, source: Path
) -> tuple[onnx.ModelProto, dict[str, tuple[int, ...]]]:
    """Fold constants, fuse BatchNorm and convert to this project's opset; also return the shapes of actual outputs."""
    try:
        model = folded(model)
        session = open_session(model.SerializeToString())
    except ModelError as error:
        raise ModelError(f"{source} is not an ONNX file that can be imported: {error}") from None
    _refuse_nonstandard_operators(model, source)
    own = [opset for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(own)
    names = [value.name for value in session.get_outputs()]
    try:
        arrays = session.run(names, {image: np.zeros((1, 3, *spec.input_size), np.float32)})
        converted = onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # neither library has a common base class of its exceptions
        raise ModelError(f"{source} is not an ONNX file that can be imported: {first_line(error)}") from None
    return converted, {name: tuple(np.shape(array)) for name, array in zip(names, arrays, strict=True)}


def _refuse_nonstandard_operators(model: onnx.ModelProto, source: Path) -> None:
    others = sorted({node.op_type for node in model.graph.node if node.domain not in ("", "ai.onnx")})
    if others:
        raise ModelError(
            f"{source} uses {', '.join(others)}, which ONNX itself does not have: export it with ONNX's own operators; "
            "if it is INT8, in the Q/DQ format"
        )


def _outputs(
    shapes: dict[str, tuple[int, ...]], spec: ModelSpec, loc: str, logits: str, source: Path
) -> dict[str, str]:
    """Find the outputs ``loc`` and ``logits`` by the given names, or by shape."""
    listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    result = {"loc": loc, "logits": logits}
    for role, last in (("loc", 4), ("logits", spec.num_classes)):
        wanted = (1, spec.num_default_boxes, last)
        must = f"{source} must have one output {list(wanted)} for {role}, by its description, but has {listed}"
        if result[role]:
            if shapes.get(result[role]) != wanted:
                raise ModelError(f"{must}; --{role} {result[role]} is not such an output")
            continue
        fitting = [name for name, shape in shapes.items() if shape == wanted and name not in result.values()]
        if len(fitting) != 1:
            raise ModelError(f"{must}: name it with --{role}, or correct the levels and labels of the description")
        result[role] = fitting[0]
    if result["loc"] == result["logits"]:
        raise ModelError(
            f"{source}: loc and logits cannot both be {result['loc']}: name two outputs with --loc and --logits"
        )
    return result


def _before_activation(model: onnx.ModelProto, output: str, spec: ModelSpec, source: Path) -> str:
    """Bypass the last Softmax or Sigmoid of the class output, even if followed by reshaping or concatenation."""
    view = GraphView(model)
    ends: set[str] = set()

    @cache
    def without(name: str) -> str:
        node = view.maker.get(name)
        kind = node.op_type if node is not None else ""
        if node is not None and kind in PASSING:
            joined = len(node.input) if kind == "Concat" else 1  # further inputs of other nodes are shapes and axes
            node.input[:joined] = [without(part) for part in node.input[:joined]]
            return name
        if node is not None and (by_hand := softmax_by_hand(view, node)):
            ends.add("Softmax")
            return by_hand
        ends.add(kind if kind in _SCORE_FUNCTIONS else "")
        return str(node.input[0]) if node is not None and kind in _SCORE_FUNCTIONS else name

    bare = without(output)
    if len(ends) > 1:
        raise ModelError(
            f"{source}: only a part of its {output} goes through {' and '.join(sorted(ends - {''}))}: "
            "export it with one activation on all of it, or with none"
        )
    for kind in ends - {""}:
        if _SCORE_FUNCTIONS[kind] != spec.score_function:
            raise ModelError(
                f"{source} ends in {kind}, but its score_function is {spec.score_function!r}: correct the description"
            )
    return bare


def _keep_only(model: onnx.ModelProto, names: dict[str, str], spec: ModelSpec) -> None:
    """Rename the given values, and keep only the nodes that compute loc and logits from the image."""
    graph = model.graph
    nodes = [inner for node in graph.node for inner in with_inner(node)]
    taken = {name for node in nodes for name in (*node.input, *node.output)}
    clashing = {new: f"{new}/inner" for new in names.values() if new in taken and new not in names}
    names = {**clashing, **names}
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    needed, kept = {"loc", "logits"}, []
    for node in reversed(graph.node):  # nodes are in order of execution
        if not needed.isdisjoint(node.output):
            needed.update(name for inner in with_inner(node) for name in inner.input)
            kept.append(node)
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:], graph.input[:], graph.output[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)
    boxes = spec.num_default_boxes
    for name, shape in (("image", (3, *spec.input_size)), ("loc", (boxes, 4)), ("logits", (boxes, spec.num_classes))):
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, *shape])
        (graph.input if name == "image" else graph.output).append(value)


def _dims(value: onnx.ValueInfoProto) -> Any:
    """Return a value's dimensions; ``dim_value`` is 0 for an open size."""
    return value.type.tensor_type.shape.dim
