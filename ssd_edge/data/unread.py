"""Name the label formats that are not read, from a few bytes of their files, and say what to do instead."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ssd_edge.data.files import IMAGE_SUFFIXES, visible, walk
from ssd_edge.data.voc_xml import first_element

_DEPTH = 3
_FILES = 20  # files of a suffix that are looked at
_BYTES = 1 << 16


class Unread(NamedTuple):
    """A format that is known but not read: how its files are told, its name and what to do."""

    suffixes: frozenset[str]
    matches: Callable[[Path], bool]
    name: str
    advice: str


def name_format(path: Path) -> str:
    """Say what a folder or file is and what to do with it, to continue "… holds"; "" if nothing is known about it."""
    for form in FORMATS:
        if any(form.matches(file) for file in _files(path, form.suffixes)):
            return f"{form.name}, which is not read: {form.advice}"
    if path.is_dir() and (image := next(walk(path, IMAGE_SUFFIXES, _DEPTH), None)):
        return (
            f"images such as {image.relative_to(path)}, but no labels that are known: add an XML file (Pascal VOC) "
            "or a text file (YOLO) for each, or a JSON file (COCO)"
        )
    return ""


def _files(path: Path, suffixes: frozenset[str]) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() in suffixes and visible(path.name) else []
    return list(islice(walk(path, suffixes, _DEPTH), _FILES))


def _start(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_BYTES)


def _json_with(*keys: str) -> Callable[[Path], bool]:
    """Make a test for JSON files that have all these keys."""
    return lambda file: all(f'"{key}"'.encode() in _start(file) for key in keys)


def _table_with(*columns: str) -> Callable[[Path], bool]:
    """Make a test for tables whose first line names all these columns."""

    def matches(file: Path) -> bool:
        first = _start(file).decode("utf-8-sig", "replace").splitlines()[:1]
        return set(columns) <= {name.strip().lower() for row in csv.reader(first) for name in row}

    return matches


def _lines_like(pattern: str) -> Callable[[Path], bool]:
    """Make a test for text files that have a line of this form."""
    form = re.compile(pattern.encode(), re.MULTILINE)
    return lambda file: form.search(_start(file)) is not None


_NUMBER = r"-?\d+(?:\.\d+)?"
_JSON, _XML, _TEXT = frozenset({".json"}), frozenset({".xml"}), frozenset({".txt"})
_EXPORT = "export it again as Pascal VOC, COCO or YOLO"

FORMATS: tuple[Unread, ...] = (
    Unread(
        _XML,
        lambda file: first_element(file) == "annotations",
        "CVAT's own XML",
        "in CVAT, export the task as Pascal VOC, COCO or Ultralytics YOLO",
    ),
    Unread(_XML, lambda file: first_element(file) == "annotation", "a file of Pascal VOC", "name its folder"),
    Unread(
        _JSON,
        _json_with("shapes", "imagePath"),
        "labelme's JSON",
        "convert it, for instance with labelme2coco or labelme2yolo",
    ),
    Unread(
        _JSON,
        lambda file: any(f'"{key}"'.encode() in _start(file) for key in ("rectanglelabels", "from_name")),
        "Label Studio's own JSON",
        "in Label Studio, export as COCO, Pascal VOC XML or YOLO with images",
    ),
    Unread(
        _JSON,
        _json_with("items", "categories", "label"),
        "datumaro's own JSON",
        "write: datum convert -i FOLDER -if datumaro -f coco_instances -o NEW -- --save-media",
    ),
    Unread(
        _JSON,
        _json_with("regions", "shape_attributes"),
        "the JSON of the VGG Image Annotator",
        "in the annotator, export the annotations as COCO",
    ),
    Unread(_JSON, _json_with("coordinates", "annotations", "image"), "CreateML's JSON", _EXPORT),
    Unread(_JSON, _json_with("objects", "classTitle"), "Supervisely's JSON", _EXPORT),
    Unread(frozenset({".json", ".ndjson"}), _json_with("data_row"), "Labelbox's JSON", _EXPORT),
    Unread(_JSON, _json_with("segments_info", "images"), "COCO's panoptic JSON", "use its instances file"),
    Unread(_JSON, _json_with("caption", "image_id"), "COCO's captions", "use its instances file"),
    Unread(frozenset({".csv"}), _table_with("xmin", "ymin", "xmax", "ymax"), "a CSV table of boxes", _EXPORT),
    Unread(frozenset({".csv"}), _table_with("filename"), "a CSV table of classes, without boxes", _EXPORT),
    Unread(frozenset({".tfrecord", ".tfrecords"}), lambda _: True, "TFRecord files", _EXPORT),
    Unread(
        _TEXT,
        _lines_like(rf"^[A-Za-z]\w*(?: {_NUMBER}){{14,15}}\s*$"),
        "KITTI's text files",
        "convert them, for instance with datum convert -if kitti -f coco_instances",
    ),
    Unread(
        _TEXT,
        _lines_like(rf"^{_NUMBER}(?: {_NUMBER}){{7}} [A-Za-z][\w-]*(?: \d)?\s*$"),
        "DOTA's text files of turned boxes",
        "convert them to YOLO polygons, whose bounds are read",
    ),
    Unread(
        _TEXT,
        _lines_like(rf"^\d+,\d+(?:,{_NUMBER}){{5,8}}\s*$"),
        "a text file of MOT Challenge's tracks",
        _EXPORT,
    ),
    Unread(
        _TEXT,
        _lines_like(r"^\S.*\.(?:jpe?g|png|bmp|JPE?G|PNG)(?: \d+,\d+,\d+,\d+,\d+)+\s*$"),
        "a text file of images and boxes, as Keras-YOLO has",
        _EXPORT,
    ),
    Unread(
        _TEXT,
        _lines_like(rf"^[A-Za-z][\w-]*(?: {_NUMBER}){{4}}\s*$"),
        "text files with class names instead of numbers",
        "YOLO wants the number of the class, and the names in classes.txt",
    ),
    Unread(frozenset({".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"}), lambda _: True, "an archive", "unpack it first"),
)
