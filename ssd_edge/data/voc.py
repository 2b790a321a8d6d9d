"""Pascal VOC: ``Annotations/*.xml``, ``JPEGImages/`` and lists of names in ``ImageSets/Main/*.txt``.

VOC's boxes are pixels counted from 1, the last one included. The numbers are kept as they stand and taken as
edges (xmin, ymin, xmax, ymax), as torchvision does: a box is at most one pixel off, and training and
evaluation see the same numbers. Boxes with xmax = xmin have no area here.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssd_edge.data.dataset import Dataset, Issue, Sample
from ssd_edge.data.files import (
    IMAGE_SUFFIXES,
    LabelsError,
    Row,
    build_target,
    index_classes,
    inside,
    not_empty,
    number,
)
from ssd_edge.errors import DataError


class _Annotation(NamedTuple):
    """One XML file: the image's name as the file gives it ("" where it does not), and the objects."""

    filename: str
    rows: list[Row[str]]


def recognises(path: Path) -> bool:
    """Whether the folder, or one just below it, is laid out as VOC."""
    return bool(_roots(path))


def read(path: Path, split: str = "", labels: Sequence[str] | None = None) -> Dataset:
    """Read a VOC folder.

    Args:
        path: the folder with ``Annotations/``, or the one above it.
        split: a list in ``ImageSets/Main``; "" means ``trainval``, or every annotation where there is none.
        labels: the class list; by default the names found in all annotations, sorted, so that splits agree.

    Raises:
        DataError: the split does not exist, or there is no usable image.
    """
    roots = _roots(path)
    if len(roots) != 1:
        there = ", ".join(root.name for root in roots) or "none"
        raise DataError(f"{path} should hold one folder with Annotations/ and JPEGImages/; it holds: {there}")
    root = roots[0]
    annotations = {p.stem: _parse(p) for p in sorted((root / "Annotations").glob("*.xml")) if _visible(p)}
    found = sorted({row.key for a in annotations.values() if isinstance(a, _Annotation) for row in a.rows})
    names = {name: name for name in found}
    classes, index = index_classes(names, labels)
    split, listed = _listed(root, split, found)
    images = {
        p.stem: p
        for p in sorted((root / "JPEGImages").iterdir(), reverse=True)
        if p.suffix.lower() in IMAGE_SUFFIXES and _visible(p)
    }

    samples, issues = [], []
    for name in sorted(annotations) if listed is None else listed:
        source = root / "Annotations" / f"{name}.xml"
        try:
            inside(root, name)
            annotation = annotations.get(name)
            if annotation is None:
                detail = f"'{name}' is in the list of split '{split}', but has no XML file"
                issues.append(Issue("missing-labels", source, detail, "image left out"))
                continue
            if isinstance(annotation, LabelsError):
                raise annotation
            image = images.get(name) or _by_filename(root, name, annotation.filename)
        except LabelsError as error:
            issues.append(Issue("bad-labels", source, str(error), "image left out"))
            continue
        target, unknown = build_target(annotation.rows, index, names, source)
        samples.append(Sample(image, target))
        issues += unknown
    samples.sort(key=lambda sample: sample.image.as_posix())
    dataset = Dataset(path, "voc", split, classes, tuple(samples), tuple(issues))
    return not_empty(dataset, f"XML files in {root / 'Annotations'}" + (f", split '{split}'" if split else ""))


def _roots(path: Path) -> list[Path]:
    """The VOC folders at ``path`` or one level below it."""
    candidates = [path, *sorted(p for p in path.iterdir() if p.is_dir())] if path.is_dir() else []
    found = [p for p in candidates if (p / "Annotations").is_dir() and (p / "JPEGImages").is_dir()]
    return [path] if path in found else found


def _listed(root: Path, split: str, classes: Sequence[str]) -> tuple[str, list[str] | None]:
    """The split that is meant and its image names; None for every annotation."""
    lists = {p.stem: p for p in (root / "ImageSets" / "Main").glob("*.txt") if _visible(p)}
    # The original VOC has a list per class as well (cat_train.txt, with 1 and -1): no splits.
    per_class = {f"{name}_{other}" for name in classes for other in lists}
    splits = sorted(lists.keys() - per_class)
    if not split:
        split = "trainval" if "trainval" in splits else ""
        if not split:
            return "", None
    if split not in splits:
        listed = ", ".join(splits) or "none"
        raise DataError(f"{root} has no split '{split}'; ImageSets/Main has: {listed}")
    try:
        lines = lists[split].read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the list of split '{split}', {lists[split]}: {error}") from None
    return split, [line.strip() for line in lines if line.strip()]


def _by_filename(root: Path, name: str, filename: str) -> Path:
    """The image that the XML file names, for annotations called otherwise than their image.

    It comes second, since ``<filename>`` is often stale; with neither there, the usual name is given for
    the check to report.
    """
    usual = root / "JPEGImages" / f"{name}.jpg"
    named = inside(root / "JPEGImages", filename) if filename else usual
    return named if named.is_file() else usual


def _visible(path: Path) -> bool:
    """Whether this is no hidden file, such as the ``._name.xml`` that macOS leaves in archives."""
    return not path.name.startswith(".")


class _NoDoctype(ET.TreeBuilder):
    """Refuses a document type, and with it entities that expand without end."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise LabelsError("it has a DOCTYPE, which no VOC file needs")


def _parse(path: Path) -> _Annotation | LabelsError:
    """One annotation, or why it cannot be read: it matters only if its split is asked for."""
    try:
        root = ET.fromstring(path.read_bytes(), parser=ET.XMLParser(target=_NoDoctype()))
        rows = [_row(place, element) for place, element in enumerate(root.findall("object"), 1)]
    except LabelsError as error:
        return error
    except ET.ParseError as error:
        return LabelsError(f"it is no XML: {error}")
    except (OSError, ValueError, LookupError) as error:  # LookupError: an encoding that does not exist
        return LabelsError(f"it cannot be read: {error}")
    if root.tag != "annotation":
        return LabelsError(f"its outermost element should be <annotation>, but is <{root.tag}>")
    return _Annotation((root.findtext("filename") or "").strip(), rows)


def _row(place: int, element: ET.Element) -> Row[str]:
    """One ``<object>``."""
    try:
        name = _text(element, "name")
        x1, y1, x2, y2 = (number(_text(element, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
        difficult = number((element.findtext("difficult") or "").strip() or 0) == 1
    except LabelsError as error:
        raise LabelsError(f"object {place}: {error}") from None
    return Row(name, (x1, y1, x2, y2), difficult)


def _text(element: ET.Element, tag: str) -> str:
    text = (element.findtext(tag) or "").strip()
    if not text:
        raise LabelsError(f"<{tag}> is missing or empty")
    return text
