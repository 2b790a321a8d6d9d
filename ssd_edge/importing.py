"""Heads that someone else trained, as ONNX, plus a few facts about them → heads.onnx with a ModelSpec."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from ssd_edge.boxes import cell_sizes
from ssd_edge.errors import ModelError, SpecError
from ssd_edge.files import sha256
from ssd_edge.heads_file import write_heads
from ssd_edge.spec import DefaultBoxLevel, ModelSpec

OPSET = 20
_ACTIVATIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}


def import_onnx(source: Path, description: Path, output: Path, loc: str = "", logits: str = "") -> ModelSpec:
    """Give foreign heads a spec and this project's names, input ``image``, outputs ``loc`` and ``logits``.

    Shape arithmetic is folded, BatchNorm goes into the convolutions, and a last Softmax or Sigmoid is cut off, since
    decode applies the score function.

    Args:
        source: ONNX file with one image input (1, 3, H, W), a regression output (1, A, 4) and a class output
            (1, A, C) whose class 0 is background.
        description: JSON file, see ``read_description``.
        output: the file to write.
        loc: name of the regression output; found by its shape where empty.
        logits: name of the class output; found by its shape where empty.

    Raises:
        SpecError: the description is none.
        ModelError: the ONNX file is none, or does not have such heads.
    """
    spec = read_description(description)
    model = _simplified(source)
    image = _image_input(model, spec, source)
    named = _outputs(model, spec, loc, logits, source)
    _cut_activation(model, named["logits"], spec, source)
    _rename(model, {image: "image", named["loc"]: "loc", named["logits"]: "logits"})
    shapes = {"image": [3, *spec.input_size], "loc": [spec.num_default_boxes, 4]}
    shapes["logits"] = [spec.num_default_boxes, spec.num_classes]
    del model.graph.output[:], model.graph.input[:]
    for name, shape in shapes.items():
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, *shape])
        (model.graph.input if name == "image" else model.graph.output).append(value)
    spec = spec.with_provenance(parent=source.name, parent_sha256=sha256(source))
    write_heads(model, spec, output)
    return spec


def read_description(path: Path) -> ModelSpec:
    """A ModelSpec written by hand: its fields as JSON, of which only four are needed.

    ``labels``, ``input_size`` [height, width], ``mean`` and ``std`` in grey levels, and ``levels``: a list of feature
    maps, each with ``grid`` [rows, columns] and its boxes as ``boxes`` [[scale, ratio], …] (w = s·√a, h = s/√a) or as
    ``sizes`` [[width, height], …] in fractions of the image; ``step`` is 1/grid where not given.

    Raises:
        SpecError: no such file, not JSON, or not a valid spec.
    """
    try:
        content: Any = json.loads(path.read_text())
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SpecError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise SpecError(f"{path} must hold a JSON object, but holds {type(content).__name__}")
    missing = [name for name in ("labels", "input_size", "mean", "std", "levels") if name not in content]
    if missing:
        raise SpecError(f"{path} lacks {', '.join(missing)}: ssd-edge import-onnx --help shows an example")
    try:
        levels = [_level(level) for level in content["levels"]]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise SpecError(f"{path}: a level needs grid and boxes or sizes, and one does not: {error!r}") from None
    return ModelSpec.from_json({"architecture": "imported", "spec_version": 1, **content, "levels": levels})


def _level(level: dict[str, Any]) -> dict[str, Any]:
    rows, columns = level["grid"]
    sizes = level.get("sizes")
    if sizes is None:
        # cell_sizes gives square, extra, then √a : 1/√a; here only the one ratio asked for is wanted.
        sizes = [cell_sizes(scale, scale, (ratio,))[2] for scale, ratio in level["boxes"]]
    return {"grid": (rows, columns), "step": level.get("step", (1 / rows, 1 / columns)), "sizes": sizes}


def _simplified(source: Path) -> onnx.ModelProto:
    """The graph with constants folded and BatchNorm fused, at this project's opset."""
    if not source.is_file():
        raise ModelError(f"there is no file {source}")
    with tempfile.TemporaryDirectory() as scratch:
        folded = Path(scratch) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        # The basic level keeps to standard operators; a higher one writes what only ONNX Runtime can read.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        options.log_severity_level = 3
        try:
            onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
            model = onnx.load(folded)
            del model.opset_import[1:]
            converted: onnx.ModelProto = onnx.version_converter.convert_version(model, OPSET)
        except Exception as error:  # neither library has a common base of its exceptions
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"{source} is no ONNX file that can be imported: {reason}") from None
    return converted


def _image_input(model: onnx.ModelProto, spec: ModelSpec, source: Path) -> str:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    wanted = [3, *spec.input_size]
    if len(inputs) != 1 or _shape(inputs[0])[1:] != wanted:
        found = ", ".join(f"{value.name} {_shape(value)}" for value in inputs)
        raise ModelError(f"{source} must have one input (1, {', '.join(map(str, wanted))}), but has {found}")
    return str(inputs[0].name)


def _outputs(model: onnx.ModelProto, spec: ModelSpec, loc: str, logits: str, source: Path) -> dict[str, str]:
    """Which output is which: by name where given, else by the last dimension."""
    found = {value.name: _shape(value) for value in model.graph.output}
    listed = ", ".join(f"{name} {shape}" for name, shape in found.items())
    result = {}
    for role, name, last in (("loc", loc, 4), ("logits", logits, spec.num_classes)):
        wanted = (spec.num_default_boxes, last)
        if not name:
            exact = [n for n, shape in found.items() if tuple(shape[1:]) == wanted]
            # A symbolic shape says nothing; then the name must be this project's own.
            exact = exact or [n for n, shape in found.items() if n == role and not all(shape)]
            if len(exact) != 1:
                raise ModelError(
                    f"{source} must have one output (1, {wanted[0]}, {wanted[1]}) for {role}, but has {listed}: "
                    f"name it with --{role}, or mend the levels and labels of the description"
                )
            name = exact[0]
        elif name not in found:
            raise ModelError(f"{source} has no output {name!r}; it has {listed}")
        result[role] = name
    return result


def _cut_activation(model: onnx.ModelProto, output: str, spec: ModelSpec, source: Path) -> None:
    for node in model.graph.node:
        if output in node.output and node.op_type in _ACTIVATIONS:
            meant = _ACTIVATIONS[node.op_type]
            if meant != spec.score_function:
                raise ModelError(f"{source} ends in {node.op_type}, but its score_function is {spec.score_function!r}")
            before = node.input[0]
            model.graph.node.remove(node)
            _rename(model, {before: output})
            return


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    """Dimensions, 0 where symbolic."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]
