"""The dict of label formats, and ``open_dataset``, which recognises the format and reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from ssd_edge.data import coco, voc, yolo
from ssd_edge.data.dataset import Dataset
from ssd_edge.data.unread import name_format
from ssd_edge.errors import DataError


class _Read(Protocol):
    def __call__(self, path: Path, split: str = "", labels: Sequence[str] | None = None) -> Dataset: ...


class Format(NamedTuple):
    """One label format on disk."""

    recognises: Callable[[Path], bool]
    read: _Read
    splits: Callable[[Path], dict[str, Path]]
    layout: str


FORMATS: dict[str, Format] = {
    "voc": Format(voc.recognises, voc.read, voc.splits, "Pascal VOC (an XML file for each image)"),
    "coco": Format(
        coco.recognises, coco.read, coco.splits, "COCO (annotations/instances_<split>.json, or another JSON file)"
    ),
    "yolo": Format(
        yolo.recognises, yolo.read, yolo.splits, "YOLO (a text file for each image, and a yaml file or classes.txt)"
    ),
}


def open_dataset(path: Path, split: str = "", labels: Sequence[str] | None = None) -> Dataset:
    """Read a data set in the first format that fits of VOC, COCO and YOLO.

    Args:
        path: a folder, or a COCO JSON or YOLO yaml file.
        split: such as ``train``; "" means VOC's ``trainval`` (or all), COCO's only file, or all YOLO images.
        labels: the class list to use, such as a model's; objects of other classes are left out and reported. By
            default the data set's own: VOC's names sorted, COCO's and YOLO's by number.

    Returns:
        The samples, and in ``issues`` what could not be read. Pixels are not checked here, but by
        ``ssd_edge.data.check.check_dataset``.

    Raises:
        DataError: the path does not exist, its format is not known, it lacks the split, or it has no usable image.
    """
    try:
        form = _format_of(path)
        dataset = form.read(path, split, labels)
        return replace(dataset, source=form.splits(path).get(dataset.split))
    except OSError as error:
        raise DataError(f"cannot read {error.filename or path}: {error.strerror}") from None


def declared_splits(path: Path) -> dict[str, Path]:
    """Return the file or folder that declares each split, by the split's name.

    That of a split in a YOLO yaml file may not exist; then the split cannot be opened.

    Raises:
        DataError: as in ``open_dataset``.
    """
    try:
        return _format_of(path).splits(path)
    except OSError as error:
        raise DataError(f"cannot read {error.filename or path}: {error.strerror}") from None


def _format_of(path: Path) -> Format:
    if not path.exists():
        raise DataError(f"there is no file or folder {path}")
    if form := recognise(path):
        return form
    if _is_part(path):
        raise DataError(f"{path} is a part of a data set: name the folder above it, {path.parent}")
    if known := name_format(path):
        raise DataError(f"{path} holds {known}")
    layouts = "; ".join(form.layout for form in FORMATS.values())
    raise DataError(f"no data set found in {path}; looked for {layouts}")


def _is_part(path: Path) -> bool:
    """Tell whether a folder is the images or the labels of the data set around it."""
    names = ("images", "labels", "jpegimages", "annotations")
    return path.is_dir() and path.name.lower() in names and recognise(path.parent) is not None


def recognise(path: Path) -> Format | None:
    """Return the first format whose labels a folder or file has, or None.

    A few stray XML files do not make a YOLO data set Pascal VOC: there, the format with more label files is taken.
    """
    name = next((name for name, form in FORMATS.items() if form.recognises(path)), None)
    if name == "voc" and yolo.recognises(path) and yolo.label_number(path) > voc.label_number(path):
        name = "yolo"
    return FORMATS[name] if name else None
