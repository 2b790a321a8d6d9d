"""ONNX files as models that can be looked at and changed: read here, whoever made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import external_data_helper

from ssd_edge.errors import ModelError
from ssd_edge.graph.foreign import refuse_other_formats


def read_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file, without the weights that it keeps in other files.

    Raises:
        OSError: the file cannot be read.
        ModelError: it is not ONNX.
    """
    refuse_other_formats(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
        _wordings(model)
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


def _wordings(message: Any) -> None:
    """Check once that every text of a model is UTF-8: protobuf gives bytes for one that is not, or raises."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                _wordings(inner)
        elif field.type == field.TYPE_STRING:
            for text in [value] if isinstance(value, str | bytes) else value:
                if isinstance(text, bytes):
                    text.decode()


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
    """Return the first line of an error's text; the name of its class where it has none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
