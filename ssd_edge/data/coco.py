"""Read COCO: one JSON file for each split, boxes as x, y, width, height in pixels, category ids with gaps.

Known layouts: ``annotations/instances_<split>.json`` with the images in ``<split>/``, ``images/<split>/`` or
``images/``; one folder for each split with ``_annotations.coco.json`` among the images; or any such JSON file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssd_edge.data.dataset import Dataset, Issue, Sample
from ssd_edge.data.files import (
    LabelsError,
    Row,
    build_target,
    choose_split,
    declared_size,
    index_classes,
    inside,
    not_empty,
    number,
)
from ssd_edge.errors import DataError
from ssd_edge.parsing import parse_json

_BESIDE = "_annotations.coco.json"
_KEYS = ("images", "annotations", "categories")


def recognises(path: Path) -> bool:
    """Tell whether the path is a JSON file or a folder in COCO's layout."""
    return path.suffix.lower() == ".json" if path.is_file() else bool(_files(path))


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
    names = _names(categories, source)
    groups = _groups_without_object(names, categories, annotations) if labels is None else {}
    names = {key: name for key, name in names.items() if key not in groups}
    classes, index = index_classes(dict(sorted(names.items())), labels)
    folder = _image_folder(source, split, images)
    rows, issues = _group(annotations, {_id(image) for image in images}, source)
    for name in groups.values():
        detail = f"category '{name}' has no object, and stands only for a group of the others"
        issues.append(Issue("unused-class", source, detail, "class left out"))

    samples, seen = [], set()
    for image in images:
        key = _id(image)
        try:
            file = inside(folder, image.get("file_name") if isinstance(image, dict) else None)
            if key is None or key in seen:
                raise LabelsError(f"image '{file.name}' has {'no id' if key is None else 'the id of another'}")
            seen.add(key)
            objects = rows.get(key, [])
            if isinstance(objects, LabelsError):
                raise LabelsError(f"image '{file.name}': {objects}")
        except LabelsError as error:
            issues.append(Issue("bad-labels", source, str(error), "image left out"))
            continue
        target, unknown = build_target(objects, index, names, source, f"image '{file.name}', ")
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
    for pattern in ("annotations/instances_*.json", "*/annotations/instances_*.json", f"*/{_BESIDE}", _BESIDE):
        if files := sorted(path.glob(pattern)):
            if len({file.parent.parent for file in files}) > 1:
                listed = ", ".join(str(file.relative_to(path)) for file in files)
                raise DataError(f"{path} holds several COCO data sets; name one of {listed}")
            return {_split_of(file): file for file in files}
    return {}


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


def _names(categories: Sequence[Any], source: Path) -> dict[int, str]:
    """Map category ids to names."""
    names: dict[int, str] = {}
    for category in categories:
        key, name = _id(category), category.get("name") if isinstance(category, dict) else None
        if key is None or key in names or not isinstance(name, str) or not name:
            raise DataError(f'{source}: each of "categories" needs an "id" of its own and a "name"')
        names[key] = name
    return names


def _groups_without_object(
    names: dict[int, str], categories: Sequence[Any], annotations: Sequence[Any]
) -> dict[int, str]:
    """Return the categories that only name a group, as some exporters' first one: its name is others' supercategory."""
    used = {_id(annotation, "category_id") for annotation in annotations}
    groups = {c.get("supercategory") for c in categories if isinstance(c, dict) and c.get("supercategory") != c["name"]}
    return {key: name for key, name in names.items() if name in groups and key not in used}


def _id(entry: Any, key: str = "id") -> int | None:
    """Return the integer under ``key``, or None if there is none."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _group(
    annotations: Sequence[Any], images: set[int | None], source: Path
) -> tuple[dict[int, list[Row[int]] | LabelsError], list[Issue]]:
    """Group objects by image id, with an error instead if one is bad; also return issues for objects of no image."""
    rows: defaultdict[int, list[Row[int]]] = defaultdict(list)
    bad: dict[int, LabelsError] = {}
    issues = []
    for annotation in annotations:
        image = _id(annotation, "image_id")
        if image is None or image not in images:
            detail = f"annotation {_id(annotation)} belongs to no image in the file"
            issues.append(Issue("bad-labels", source, detail, "box left out"))
            continue
        try:
            rows[image].append(_row(annotation))
        except LabelsError as error:
            bad.setdefault(image, LabelsError(f"annotation {_id(annotation)}: {error}"))
    return {**rows, **bad}, issues


def _row(annotation: dict[str, Any]) -> Row[int]:
    box, category = annotation.get("bbox"), _id(annotation, "category_id")
    if not isinstance(box, list) or len(box) != 4:
        raise LabelsError('"bbox" should be four numbers: x, y, width, height')
    if category is None:
        raise LabelsError('it has no "category_id"')
    x, y, width, height = map(number, box)
    return Row(category, (x, y, x + width, y + height), crowd=annotation.get("iscrowd") in (1, True))


def _image_folder(source: Path, split: str, images: Sequence[Any]) -> Path:
    """Find the images' folder: the first usual place with one of the first 20 images, else the first that exists."""
    top = source.parent.parent if source.parent.name == "annotations" else source.parent
    places = [p for p in (top / split, top / "images" / split, top / "images", top, source.parent) if p.is_dir()]
    names = [image.get("file_name") for image in images[:20] if isinstance(image, dict)]
    for place in places:
        for name in names:
            try:
                if inside(place, name).is_file():
                    return place
            except LabelsError:  # reported later, with its image
                continue
    return places[0]
