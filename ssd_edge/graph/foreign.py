"""Name a file that is no ONNX: what its first bytes show it to be, and how to get ONNX from it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ssd_edge.errors import ModelError
from ssd_edge.files import LFS_ADVICE, is_lfs_pointer

_EXPORT = "export the network to ONNX with torch.onnx.export and give that file"
_TFLITE = (
    "a TensorFlow Lite file: convert the TensorFlow model that it was made from with tf2onnx, or it with tflite2onnx"
)
_KERAS = "a Keras model: convert it to ONNX with tf2onnx"
_PICKLE = (
    "a PyTorch checkpoint or another Python pickle, which is not opened because it can run code: if ssd-edge trained "
    f"it, use ssd-edge export, else {_EXPORT}"
)

_BEGINNINGS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"TFL3", _TFLITE),
    (4, b"ORTM", "in ONNX Runtime's own format (.ort): give the ONNX file that it was made from"),
    (0, b"\x89HDF\r\n\x1a\n", _KERAS),
    (0, b"ptrt", "a TensorRT plan, compiled for one GPU: give the ONNX file that it was built from"),
    (0, b"7767517", "a network of ncnn: give the ONNX file that it was made from"),
    (0, b"\x80\x02", _PICKLE),
    (0, b"\x80\x03", _PICKLE),
    (0, b"\x80\x04", _PICKLE),
    (0, b"\x80\x05", _PICKLE),
    (0, b"\x1f\x8b", "compressed with gzip: unpack it"),
)
"""Place in the file, the bytes there, and what to say of it."""


def refuse_other_formats(path: Path) -> None:
    """Refuse a file that its first bytes show to be something else than ONNX; unknown content passes.

    Raises:
        OSError: the file cannot be read.
        ModelError: the file is of another format; the sentence names it, and says what to do.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            raise ModelError(f"{path} is a TensorFlow SavedModel: convert it to ONNX with tf2onnx")
        raise ModelError(f"{path} is a folder and not an ONNX file: give the file")
    if is_lfs_pointer(path):
        raise ModelError(f"{path} {LFS_ADVICE}")
    with path.open("rb") as file:
        head = file.read(512)
    if kind := _kind(path, head):
        raise ModelError(f"{path} is {kind}")


def _kind(path: Path, head: bytes) -> str:
    """Say what a file is, as the rest of a sentence; empty where nothing is known."""
    if not head:
        return "empty: copy or download it again"
    for place, beginning, kind in _BEGINNINGS:
        if head[place:].startswith(beginning):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if len(head) > 9 and head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 30:
        return f"a safetensors file, which holds weights without a network: {_EXPORT}"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, as a download without a login leaves it: download the file itself"
    if text.startswith(b"<?xml") and b"<net" in text:
        return "a network of OpenVINO: give the ONNX file that it was made from"
    return ""


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a damaged archive or PyTorch checkpoint: copy or download it again"
    parts = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in parts:
        script = "constants.pkl" in parts
        return f"a TorchScript file: {_EXPORT}" if script else _PICKLE
    if "model.weights.h5" in parts:
        return _KERAS
    return "a zip archive: unpack it and give the ONNX file inside"
