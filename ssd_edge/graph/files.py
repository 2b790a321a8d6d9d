"""ONNX files as models that can be looked at and changed: read here, whoever made them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import external_data_helper

from ssd_edge.errors import ModelError
from ssd_edge.graph.foreign import refuse_other_formats

_TAKEN_FOR_ONNXS = {"Conv", "QuantizeLinear", "DequantizeLinear"}
"""Operators that are taken for ONNX's own by their name, also those of other domains."""


def read_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, without the weights that it keeps in other files.

    Raises:
        OSError: the file cannot be read.
        ModelError: it is not ONNX.
    """
    refuse_other_formats(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
        _check_texts(model)
        _check_nodes(model.graph.node, {entry.domain or "": entry.version for entry in model.opset_import})
    except OSError:
        raise
    except UnicodeDecodeError:
        raise ModelError(
            f"{path} holds text that is not UTF-8: it is damaged, or was not written by an exporter"
        ) from None
    except Exception as error:  # protobuf's and onnx's have no common base
        raise ModelError(f"{path} is not an ONNX file: {first_line(error)}") from None
    if not model.HasField("graph"):  # another kind of protobuf, such as TensorFlow's, reads as an empty model
        raise ModelError(f"{path} is not an ONNX file, or holds no network: convert a TensorFlow graph with tf2onnx")
    return model


def _check_texts(message: Any) -> None:
    """Check once that every text of a model is UTF-8: protobuf gives bytes for one that is not, or raises."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                _check_texts(inner)
        elif field.type == field.TYPE_STRING:
            for text in [value] if isinstance(value, str | bytes) else value:
                if isinstance(text, bytes):
                    text.decode()


def _check_nodes(nodes: Iterable[onnx.NodeProto], opsets: Mapping[str, int]) -> None:
    """Check once that nodes have the inputs, outputs and attributes of their operator; others' operators pass.

    Raises:
        ValueError: one has not.
    """
    latest = onnx.defs.onnx_opset_version()
    for node in nodes:
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                _check_nodes(graph.node, opsets)
        domain = "" if node.domain == "ai.onnx" else node.domain
        try:
            schema = onnx.defs.get_schema(node.op_type, opsets.get(domain, latest if not domain else 0), domain)
        except (onnx.defs.SchemaError, TypeError):
            if node.op_type in _TAKEN_FOR_ONNXS and (len(node.input) < 2 or not node.output):
                raise ValueError(f"its node {node.name or node.op_type!r} has too few inputs or outputs") from None
            continue
        for what, number, least, most in (
            ("inputs", len(node.input), schema.min_input, schema.max_input),
            ("outputs", len(node.output), schema.min_output, schema.max_output),
        ):
            if not least <= number <= most:
                raise ValueError(f"its node {node.name or node.op_type!r}, a {node.op_type}, has {number} {what}")
        kinds = {attribute.name: attribute.type for attribute in node.attribute}
        attributes: Mapping[str, Any] = schema.attributes
        for name, wanted in attributes.items():
            kind = int(wanted.type)
            if kinds.get(name, None if wanted.required else kind) != kind:
                raise ValueError(f"its node {node.name or node.op_type!r}, a {node.op_type}, has no proper {name}")


def type_name(elem_type: int) -> str:
    """Return the name of a tensor's type, such as FLOAT; its number where there is no such type."""
    names = {number: name for name, number in onnx.TensorProto.DataType.items()}
    return str(names.get(elem_type, elem_type))


def read_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with all its weights, also those in other files of its own folder.

    Raises:
        OSError: the file cannot be read.
        ModelError: it is not ONNX, or its weights cannot be read or lie outside its folder.
    """
    model = read_graph(path)
    read_weights(model, path)
    return model


def read_weights(model: onnx.ModelProto, path: Path) -> None:
    """Read the weights that stand in other files into the model, in place; only the model's own folder is read.

    Raises:
        ModelError: weights lie outside the folder, or cannot be read.
    """
    folder = path.resolve().parent
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        name = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        file = (folder / name).resolve()
        if folder not in file.parents:
            raise ModelError(
                f"{path} wants weights from {name!r}, outside its own folder: export it again with all weights inside"
            )
        if not file.is_file():
            raise ModelError(f"{path} keeps weights in {name!r}, which does not lie beside it")
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
    except Exception as error:  # what is cut short or linked is refused with exceptions of several kinds
        raise ModelError(f"the weights of {path} cannot be read: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, cut if it is long; the name of its class where it has none."""
    return next((line.strip()[:500] for line in str(error).splitlines() if line.strip()), type(error).__name__)
