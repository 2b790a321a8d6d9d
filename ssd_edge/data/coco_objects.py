"""Read the entries of a COCO file: ids as scripts write them, boxes, and bounds of segmentations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np

from ssd_edge.data.dataset import Issue
from ssd_edge.data.files import LabelsError, Row, number
from ssd_edge.errors import DataError

Id = Union[int, str]  # noqa: UP007 - a value, for Python 3.10
Box = tuple[float, float, float, float]


def id_of(entry: Any, key: str = "id") -> Id | None:
    """Return the id under ``key``: whole numbers, which some scripts write as 3.0, or text as written; else None."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def category_names(
    categories: Sequence[Any], annotations: Sequence[Any], source: Path
) -> tuple[dict[Id, str], list[Issue]]:
    """Map category ids to names, in ascending order; leave out categories that only hold others, and list them.

    Exporters such as Roboflow write the data set's name as a category, with no object and as the supercategory of all
    the others.

    Raises:
        DataError: a category has no name, or no id of its own.
    """
    names: dict[Id, str] = {}
    parents: dict[Id, object] = {}
    for category in categories:
        key, name = id_of(category), category.get("name") if isinstance(category, dict) else None
        if key is None or key in names or not isinstance(name, (str, int)) or name == "":
            raise DataError(f'{source}: each of "categories" needs an "id" of its own and a "name"')
        names[key], parents[key] = str(name), category.get("supercategory")
    used = {id_of(annotation, "category_id") for annotation in annotations}
    issues = []
    for key, name in list(names.items()):
        if key not in used and any(parent == name for other, parent in parents.items() if other != key):
            detail = f"category '{name}' has no object, and is the supercategory of others"
            issues.append(Issue("unused-class", source, detail, "class left out"))
            del names[key]
    ordered = sorted(names.items(), key=lambda item: (isinstance(item[0], str), item[0]))
    return dict(ordered), issues


def group(
    annotations: Sequence[Any], images: set[Id | None], source: Path
) -> tuple[dict[Id, list[Row[Id]]], list[Issue]]:
    """Group objects by image id; also return an issue for each that cannot be read or belongs to no image."""
    rows: defaultdict[Id, list[Row[Id]]] = defaultdict(list)
    issues = []
    for annotation in annotations:
        image = id_of(annotation, "image_id")
        try:
            if image is None or image not in images:
                raise LabelsError("it belongs to no image in the file")
            rows[image].append(_row(annotation))
        except LabelsError as error:
            where = "" if image is None else f", image {image}"
            detail = f"annotation {id_of(annotation)}{where}: {error}"
            issues.append(Issue("bad-labels", source, detail, "box left out"))
    return rows, issues


def _row(annotation: dict[str, Any]) -> Row[Id]:
    category = id_of(annotation, "category_id")
    if category is None:
        raise LabelsError('it has no "category_id"')
    crowd = annotation.get("iscrowd") in (1, True, "1")
    box = annotation.get("bbox")
    if not box and annotation.get("segmentation"):
        return Row(category, _bounds(annotation["segmentation"]), crowd=crowd)
    if not isinstance(box, list) or len(box) != 4:
        raise LabelsError('"bbox" should be four numbers: x, y, width, height')
    x, y, width, height = map(number, box)
    return Row(category, (x, y, x + width, y + height), crowd=crowd)


def _bounds(segmentation: Any) -> Box:
    """Return the bounds of polygons [[x, y, x, y, …], …], or of runs of pixels."""
    if isinstance(segmentation, dict):
        return _bounds_of_runs(segmentation)
    polygons = segmentation if isinstance(segmentation, list) else []
    numbers = [[number(value) for value in polygon] for polygon in polygons if isinstance(polygon, list)]
    if not numbers or any(len(polygon) < 6 or len(polygon) % 2 for polygon in numbers):
        raise LabelsError('it has no "bbox", and "segmentation" is no list of polygons of three or more points')
    xs, ys = ([v for polygon in numbers for v in polygon[start::2]] for start in (0, 1))
    return min(xs), min(ys), max(xs), max(ys)


def _bounds_of_runs(segmentation: dict[str, Any]) -> Box:
    """Return the bounds of a run-length encoded mask: ``counts`` of pixels without and with the object, by columns."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    height = size[0] if isinstance(size, list) and len(size) == 2 else None
    runs = _runs(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(isinstance(run, int) and 0 <= run < 1 << 31 for run in runs)
    if not isinstance(height, int) or height < 1 or not whole or not runs:
        raise LabelsError('it has no "bbox", and "segmentation" is no run-length encoded mask')
    ends = np.cumsum(np.array(runs, np.int64))
    starts, ends = ends[:-1][::2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        raise LabelsError('it has no "bbox", and no pixel is set in "segmentation"')
    first, last = starts // height, (ends - 1) // height
    across = (first != last).any()  # a run that goes on in the next column touches the lower and the upper edge
    top, bottom = (0, height) if across else ((starts % height).min(), ((ends - 1) % height).max() + 1)
    return float(first.min()), float(top), float(last.max() + 1), float(bottom)


def _runs(text: str) -> list[int]:
    """Decode the compressed counts of pycocotools (``rleFrString`` in maskApi.c): 5 bits a character, differences."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise LabelsError('"counts" of the segmentation is no run-length encoding')
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs
