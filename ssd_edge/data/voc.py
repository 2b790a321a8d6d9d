"""Read Pascal VOC: ``Annotations/*.xml``, ``JPEGImages/`` and lists of names in ``ImageSets/Main/*.txt``.

VOC's boxes are pixel numbers counted from 1, with the last pixel included. As in torchvision, the numbers are not
changed, but read as edges (xmin, ymin, xmax, ymax): a box is at most one pixel off, and training and evaluation see the
same numbers. Boxes with xmax = xmin have no area here.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ssd_edge.data.dataset import Dataset, Issue, Sample
from ssd_edge.data.files import (
    IMAGE_SUFFIXES,
    LabelsError,
    Row,
    build_target,
    declared_size,
    index_classes,
    inside,
    not_empty,
    number,
)
from ssd_edge.data.voc_splits import choose_list, lists_of
from ssd_edge.errors import DataError


class _Annotation(NamedTuple):
    """Contents of one XML file: the image's file name ("" if missing), its size if declared, and the objects."""

    filename: str
    declared: tuple[int, int] | None
    rows: list[Row[str]]


def recognises(path: Path) -> bool:
    """Tell whether the folder, or one directly below it, has VOC's layout."""
    return bool(_roots(path))


def read(path: Path, split: str = "", labels: Sequence[str] | None = None) -> Dataset:
    """Read a VOC folder.

    Args:
        path: the folder with ``Annotations/``, or the one above it.
        split: a list in ``ImageSets/Main``; "" means ``trainval``, or all annotations if there is no such list.
        labels: the class list; by default the sorted names in all annotations, so that splits have the same classes.

    Raises:
        DataError: the split does not exist, or there is no usable image.
    """
    root = _root(path)
    annotations = {p.stem: _parse(p) for p in sorted((root / "Annotations").glob("*.xml")) if _visible(p)}
    class_names = sorted({row.key for a in annotations.values() if isinstance(a, _Annotation) for row in a.rows})
    names = {name: name for name in class_names}
    classes, index = index_classes(names, labels)
    split, image_names = choose_list(root, split, annotations)
    images = {
        p.stem: p
        for p in sorted((root / "JPEGImages").iterdir(), reverse=True)
        if p.suffix.lower() in IMAGE_SUFFIXES and _visible(p)
    }

    samples, issues = [], []
    for name in sorted(annotations) if image_names is None else image_names:
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
        samples.append(Sample(image, target, annotation.declared))
        issues += [replace(issue, image=image) for issue in unknown]
    samples.sort(key=lambda sample: sample.image.as_posix())
    dataset = Dataset(path, "voc", split, classes, tuple(samples), tuple(issues))
    return not_empty(dataset, f"XML files in {root / 'Annotations'}" + (f", split '{split}'" if split else ""))


def splits(path: Path) -> dict[str, Path]:
    """Return the list in ``ImageSets/Main`` of each split."""
    return lists_of(_root(path))


def _root(path: Path) -> Path:
    """Return the one VOC folder at ``path`` or below it."""
    roots = _roots(path)
    if len(roots) != 1:
        listed = ", ".join(root.name for root in roots) or "none"
        raise DataError(f"{path} should hold one folder with Annotations/ and JPEGImages/; it holds: {listed}")
    return roots[0]


def _roots(path: Path) -> list[Path]:
    """Find the VOC folders at ``path`` or one level below it."""
    candidates = [path, *sorted(p for p in path.iterdir() if p.is_dir())] if path.is_dir() else []
    roots = [p for p in candidates if (p / "Annotations").is_dir() and (p / "JPEGImages").is_dir()]
    return [path] if path in roots else roots


def _by_filename(root: Path, name: str, filename: str) -> Path:
    """Find the image by the XML file's ``<filename>``, for annotations that have another name than their image.

    This is the second choice, since ``<filename>`` is often stale. If that file does not exist either, return the usual
    name, which the check then reports as missing.
    """
    usual = root / "JPEGImages" / f"{name}.jpg"
    named = inside(root / "JPEGImages", filename) if filename else usual
    return named if named.is_file() else usual


def _visible(path: Path) -> bool:
    """Tell whether a file is not hidden; macOS leaves hidden files such as ``._name.xml`` in archives."""
    return not path.name.startswith(".")


class _NoDoctype(ET.TreeBuilder):
    """Tree builder that refuses a document type, and thereby entities that expand without end."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise LabelsError("it has a DOCTYPE, which no VOC file needs")


def _parse(path: Path) -> _Annotation | LabelsError:
    """Read one annotation; return an error instead of raising it, since it matters only if its split is read."""
    try:
        root = ET.fromstring(path.read_bytes(), parser=ET.XMLParser(target=_NoDoctype()))
        rows = [_row(place, element) for place, element in enumerate(root.findall("object"), 1)]
    except LabelsError as error:
        return error
    except ET.ParseError as error:
        return LabelsError(f"it is no XML: {error}")
    except (OSError, ValueError, LookupError) as error:  # LookupError: unknown encoding
        return LabelsError(f"it cannot be read: {error}")
    if root.tag != "annotation":
        return LabelsError(f"its outermost element should be <annotation>, but is <{root.tag}>")
    declared = declared_size(root.findtext("size/width"), root.findtext("size/height"))
    return _Annotation((root.findtext("filename") or "").strip(), declared, rows)


def _row(place: int, element: ET.Element) -> Row[str]:
    """Read one ``<object>``."""
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
