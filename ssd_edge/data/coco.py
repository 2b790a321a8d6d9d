"""Read COCO: one JSON file for each split, boxes as x, y, width, height in pixels, category ids with gaps.

Known layouts: ``annotations/instances_<split>.json`` with the images in ``<split>/``, ``images/<split>/`` or
``images/``; one folder for each split with ``_annotations.coco.json`` among the images; or any such JSON file, such as
``annotations/train.json`` or ``result.json``, which is looked into.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssd_edge.data.coco_objects import category_names, group, id_of
from ssd_edge.data.dataset import Dataset, Issue, Sample
from ssd_edge.data.files import (
    IMAGE_SUFFIXES,
    LabelsError,
    build_target,
    choose_split,
    declared_size,
    index_classes,
    inside,
    not_empty,
    visible,
    walk,
)
from ssd_edge.data.finding import ImageIndex
from ssd_edge.data.unread import name_format
from ssd_edge.errors import DataError
from ssd_edge.parsing import parse_json

_BESIDE = "_annotations.coco.json"
_KEYS = ("images", "annotations", "categories")
_USUAL = ("annotations/instances_*.json", "*/annotations/instances_*.json", f"*/{_BESIDE}", _BESIDE)
_ELSEWHERE = ("annotations/*.json", "*.json", "*/*.json", "*/annotations/*.json")  # if they have COCO's keys


def recognises(path: Path) -> bool:
    """Tell whether the path is a JSON file or a folder in COCO's layout."""
    if path.is_dir():
        return bool(_files(path))
    return path.suffix.lower() == ".json" and (_holds_objects(path) or not name_format(path))


def read(path: Path, split: str = "", labels: Sequence[str] | None = None) -> Dataset:
    """Read a COCO data set.

    Args:
        path: the folder with ``annotations/``, the one above it, or a JSON file.
        split: name of the split, or its beginning if that is unique (``train`` for ``train2017``); required if there
            are several splits.
        labels: the class list; by default the categories by ascending id.

    Raises:
        DataError: the file is not a COCO file, the split does not exist, or there is no usable image.
    """
    files = splits(path)
    if not files:
        raise DataError(f"{path} has no annotations/instances_<split>.json and no <split>/{_BESIDE}")
    split = choose_split(split, files, path)
    source = files[split]
    images, annotations, categories = _load(source)
    names, groups = category_names(categories, annotations, source)
    issues = groups if labels is None else []
    classes, index = index_classes(names, labels)
    folder = _image_folder(source, split, images)
    find = _Finder(folder, files.keys() - {split})
    rows, more = group(annotations, {id_of(image) for image in images}, source)
    issues += more

    samples, seen = [], set()
    for image in images:
        key = id_of(image)
        try:
            file = find(image.get("file_name") if isinstance(image, dict) else None)
            if key is None or key in seen:
                raise LabelsError(f"image '{file.name}' has {'no id' if key is None else 'the id of another'}")
        except LabelsError as error:
            issues.append(Issue("bad-labels", source, str(error), "image left out"))
            continue
        seen.add(key)
        target, unknown = build_target(rows.get(key, []), index, names, source, f"image '{file.name}', ")
        samples.append(Sample(file, target, declared_size(image.get("width"), image.get("height"))))
        issues += [replace(issue, image=file) for issue in unknown]
    samples.sort(key=lambda sample: sample.image.as_posix())
    dataset = Dataset(path, "coco", split, classes, tuple(samples), tuple(issues))
    return not_empty(dataset, f'"images" in {source}')


def splits(path: Path) -> dict[str, Path]:
    """Return the JSON file of each split."""
    # Absolute, because the names of parent folders tell where the images are.
    return {_split_of(path.absolute()): path.absolute()} if path.is_file() else _files(path)


def _files(path: Path) -> dict[str, Path]:
    """Find the JSON file of each split at ``path`` or one level below it."""
    if not path.is_dir():
        return {}
    for pattern in _USUAL:
        if files := [file for file in sorted(path.glob(pattern)) if visible(file.name)]:
            return _by_split(path, files)
    for pattern in _ELSEWHERE:
        if files := [file for file in sorted(path.glob(pattern)) if visible(file.name) and _holds_objects(file)]:
            return _by_split(path, files)
    return {}


def _by_split(path: Path, files: Sequence[Path]) -> dict[str, Path]:
    if len({file.parent.parent for file in files}) > 1:
        listed = ", ".join(str(file.relative_to(path)) for file in files)
        raise DataError(f"{path} holds several COCO data sets; name one of {listed}")
    for name in (_split_of, lambda file: file.parent.name, lambda file: str(file.relative_to(path).with_suffix(""))):
        if len(by_split := {name(file): file for file in files}) == len(files):
            break
    return by_split


def _holds_objects(file: Path) -> bool:
    """Tell whether a JSON file has the three keys of COCO, or only some because it is cut short."""
    data = file.read_bytes()
    keys = sum(f'"{key}"'.encode() in data for key in _KEYS)
    if keys in (0, len(_KEYS)):
        return keys > 0
    try:
        parse_json(data)
    except ValueError:
        return True
    return False


def _split_of(file: Path) -> str:
    return file.parent.name if file.name == _BESIDE else file.stem.removeprefix("instances_")


def _load(source: Path) -> tuple[list[Any], list[Any], list[Any]]:
    """Read the lists ``images``, ``annotations`` and ``categories``."""
    try:
        content = parse_json(source.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {source} as JSON: {error}") from None
    lists = [content.get(key) if isinstance(content, dict) else None for key in _KEYS]
    for key, value in zip(_KEYS, lists, strict=True):
        if not isinstance(value, list):
            raise DataError(f'{source} is not a COCO file of objects: it has no list "{key}"')
    images, annotations, categories = lists
    return images or [], annotations or [], categories or []


def _image_folder(source: Path, split: str, images: Sequence[Any]) -> Path:
    """Find the images' folder: the first usual place with one of the first 20 images, else the first that exists."""
    top = source.parent.parent if source.parent.name.lower() == "annotations" else source.parent
    below = [top / split, top / "images" / split, top / "images", top / "data", top, source.parent]
    places = [p for p in below if p.is_dir()]
    names = [image.get("file_name") for image in images[:20] if isinstance(image, dict)]
    for place in places:
        for name in names:
            try:
                if inside(place, name).is_file():
                    return place
            except LabelsError:  # reported later, with its image
                continue
    return places[0]


class _Finder:
    """Find an image by its ``file_name``: below a folder, or else by the end of its path in whatever folder it lies."""

    def __init__(self, folder: Path, other_splits: Set[str]) -> None:
        self._folder = folder
        self._others = other_splits
        self._index: ImageIndex | None = None

    def __call__(self, name: object) -> Path:
        """Return the path of an image, whether or not it exists.

        Raises:
            LabelsError: the name is not text, or it leads out of the folder and no image in it has that name.
        """
        try:
            file = inside(self._folder, name)
            if file.is_file():
                return file
        except LabelsError:
            file = None
        elsewhere = self._look_for(name) if isinstance(name, str) else None
        return elsewhere or file or inside(self._folder, name)

    def _look_for(self, name: str) -> Path | None:
        if self._index is None:
            files = walk(self._folder, IMAGE_SUFFIXES)
            own = (f for f in files if self._others.isdisjoint(f.relative_to(self._folder).parts))
            self._index = ImageIndex(self._folder, own)
        return self._index.ending_in(name)
