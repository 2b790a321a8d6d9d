"""Find what belongs to a YOLO data set: the file that describes it, class names, folders of images, label files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ssd_edge.data.files import IMAGE_SUFFIXES, LabelsError, inside, lines_of, visible, walk
from ssd_edge.data.finding import nfc
from ssd_edge.data.yolo_lines import looks_like_labels
from ssd_edge.errors import DataError

YAML = (".yaml", ".yml")
DATA = ".data"  # of darknet: names, train and valid as "key = value"
_DEPTH = 6
_NAMES = ("classes.txt", "obj.names", "_darknet.labels", "classes.names", "predefined_classes.txt")
_ENOUGH = 50  # label files that are looked at


def label_files(root: Path) -> list[Path]:
    """List the text files that lie in a folder ``labels``, or beside an image of their name."""
    images = {nfc(str(image.with_suffix(""))) for image in walk(root, IMAGE_SUFFIXES, _DEPTH)}
    return [
        file
        for file in walk(root, [".txt"], _DEPTH)
        if file.name not in _NAMES
        and ("labels" in file.relative_to(root).parts[:-1] or nfc(str(file.with_suffix(""))) in images)
    ]


def has_labels(root: Path) -> bool:
    """Tell whether one of the first label files holds YOLO's lines, or is empty as that of an image with no object."""
    return any(looks_like_labels(file) for file in label_files(root)[:_ENOUGH])


def find_description(folder: Path) -> Path | None:
    """Find the yaml file with class names in a folder, or darknet's ``obj.data``.

    Raises:
        DataError: there are several.
    """
    beside = sorted(p for p in folder.iterdir() if visible(p.name))
    files = [p for p in beside if p.suffix.lower() in YAML]
    named = [file for file in files if "names" in load(file)] if len(files) > 1 else files
    if len(named) > 1:
        raise DataError(f"{folder} has several yaml files; name one of {', '.join(p.name for p in named)}")
    data = [p for p in beside if p.suffix.lower() == DATA]
    return named[0] if named else data[0] if len(data) == 1 else None


def load(file: Path) -> dict[str, Any]:
    """Read a yaml file, or darknet's, as plain text: ``no`` and ``007`` are names, not a truth value and a number.

    Raises:
        DataError: it cannot be read.
    """
    import yaml  # type: ignore[import-untyped]

    try:
        if file.suffix.lower() == DATA:
            pairs = (line.partition("=") for line in file.read_text(encoding="utf-8-sig").splitlines())
            return {key.strip(): value.strip() for key, sign, value in pairs if sign}
        content = yaml.load(file.read_bytes(), yaml.BaseLoader)  # makes nothing but text
    except Exception as error:  # yaml raises more than its own: AttributeError, KeyError, IndexError on bad tags
        raise DataError(f"cannot read {file} as yaml: {' '.join(str(error).split())[:500]}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file} is not a YOLO data file: it should hold names: and the class names")
    return content


def keypoint_numbers(config: Mapping[str, Any], file: Path | None) -> int:
    """Return how many numbers of keypoints follow each box, by ``kpt_shape: [keypoints, numbers of each]``.

    Raises:
        DataError: ``kpt_shape`` is something else.
    """
    shape = config.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(n, str) and n.isdigit() for n in shape):
        raise DataError(f"{file}: kpt_shape: should be two numbers, of keypoints and of values of each, but is {shape}")
    return int(shape[0]) * int(shape[1])


def base(folder: Path, config: Mapping[str, Any]) -> Path:
    """Return the folder named by the yaml's ``path:`` if it exists inside ``folder``, else ``folder`` itself.

    Copied yaml files often keep a stale path.
    """
    try:
        named = inside(folder, config.get("path"))
    except LabelsError:
        return folder
    return named if named.is_dir() else folder


def class_names(
    config: Mapping[str, Any], file: Path | None, root: Path, labels: Sequence[str] | None
) -> dict[int, str]:
    """Return class names by number, in ascending order.

    Raises:
        DataError: there are none, or several files differ.
    """
    names = config.get("names")
    if isinstance(names, str) and names:  # of darknet: a file, named from where the training was started
        names = _names_in([root / PurePosixPath(names.replace("\\", "/")).name, *_name_files(root)])
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if isinstance(names, dict) and names:
        if not all(_is_number(key) and isinstance(name, str) and name for key, name in names.items()):
            raise DataError(f"{file}: names: should give each class number one name")
        return dict(sorted((int(key), name) for key, name in names.items()))
    if in_files := _names_in(_name_files(root)):
        return dict(enumerate(in_files))
    if labels is not None:
        return dict(enumerate(labels))
    missing = f"{file} has no names:" if file else f"{root} has no yaml file"
    write = root / "classes.txt"
    raise DataError(f"{missing}, so the classes have no names; write {write}, one name a line in their order")


def _is_number(key: object) -> bool:
    return isinstance(key, str) and re.fullmatch(r"\s*-?[0-9]{1,9}\s*", key) is not None


def _name_files(root: Path) -> Iterator[Path]:
    """Yield the files with class names: in the folder, in ``labels``, or in each split's folder."""
    for pattern in ("", "labels/", "*/", "*/labels/", "labels/*/"):
        for name in _NAMES:
            yield from sorted(root.glob(f"{pattern}{name}"))


def _names_in(files: Iterator[Path] | list[Path]) -> list[str]:
    """Read the names of the first file, one a line; all files must agree."""
    names: list[str] = []
    first = None
    for file in files:
        if not file.is_file():
            continue
        here = lines_of(file)
        if first is not None and here != names:
            raise DataError(f"{first} and {file} give different class names: delete the wrong one")
        first, names = file, here
    return names


def image_folders(root: Path) -> list[Path]:
    """Find every folder ``images`` that is not in another; the root itself if there is none."""
    if (root / "images").is_dir():
        return [root / "images"]
    for pattern in ("*/images", "*/*/images"):
        if folders := sorted(p for p in root.glob(pattern) if p.is_dir() and visible(p.parent.name)):
            return folders
    return [root]


class LabelFinder:
    """Find the label file of an image, with names compared in NFC."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = {nfc(str(file.with_suffix(""))): file for file in walk(root, [".txt"])}

    def __call__(self, image: Path) -> Path:
        """Return an image's label file: the last ``images`` in its path becomes ``labels``, or else it is beside it."""
        usual = label_folder(self._root, image.parent) / image.stem
        for stem in (usual, image.with_suffix("")):
            if file := self._files.get(nfc(str(stem))):
                return file
        return usual.with_name(f"{image.stem}.txt")


def label_folder(root: Path, folder: Path) -> Path:
    """Return the folder with the labels of a folder of images."""
    parts = list(folder.relative_to(root).parts)
    for position in reversed(range(len(parts))):
        if parts[position].lower() in ("images", "jpegimages"):
            parts[position] = "labels"
            break
    return root.joinpath(*parts)
