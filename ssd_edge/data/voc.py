"""Read Pascal VOC: an XML file for each image; each split is a list in ``ImageSets/Main/*.txt``, or a folder.

The XML files are in ``Annotations/`` with the images in ``JPEGImages/`` or ``images/``, beside the images, or in
folders below these; an XML file's image is the one of its name in the same part of the data set.

VOC's boxes are pixel numbers counted from 1, with the last pixel included. As in torchvision, the numbers are not
changed, but read as edges (xmin, ymin, xmax, ymax): a box is at most one pixel off, and training and evaluation see the
same numbers. Boxes with xmax = xmin have no area here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ssd_edge.data.dataset import Dataset, Issue, Sample
from ssd_edge.data.files import (
    IMAGE_SUFFIXES,
    LabelsError,
    build_target,
    index_classes,
    inside,
    not_empty,
    visible,
    walk,
)
from ssd_edge.data.finding import ImageIndex, nfc, place
from ssd_edge.data.roles import role_of
from ssd_edge.data.voc_splits import choose_annotations, folder_named, splits_of
from ssd_edge.data.voc_xml import Annotation, first_element, parse
from ssd_edge.errors import DataError

_DEPTH = 6
_ENOUGH = 20  # XML files whose first element is looked at


def recognises(path: Path) -> bool:
    """Tell whether the folder has VOC's own layout, or XML files that begin as VOC's do."""
    if not path.is_dir():
        return False
    if _roots(path):
        return True
    files = list(_xml_files(path))[:_ENOUGH]
    return any(first_element(file) == "annotation" for file in files)


def label_number(path: Path) -> float:
    """Count the XML files that show a folder to be VOC; without end in VOC's own layout, which shows it by itself."""
    return math.inf if _roots(path) else len(list(_xml_files(path)))


def read(path: Path, split: str = "", labels: Sequence[str] | None = None) -> Dataset:
    """Read a VOC folder.

    Args:
        path: the folder with ``Annotations/``, or the one above it.
        split: a list in ``ImageSets/Main``, or a folder; "" means ``trainval``, or all annotations if there is no such
            list.
        labels: the class list; by default the sorted names in all annotations, so that splits have the same classes.

    Raises:
        DataError: the split does not exist, or there is no usable image.
    """
    root = _root(path)
    annotations, issues = _annotations(root)
    class_names = sorted({row.key for _, a in annotations.values() if isinstance(a, Annotation) for row in a.rows})
    names = {name: name for name in class_names}
    classes, index = index_classes(names, labels)
    images = list(walk(root, IMAGE_SUFFIXES, _DEPTH))
    by_name = ImageIndex(root, images)
    split, chosen = choose_annotations(root, split, annotations, _xml_files(root))

    samples, used = [], set()
    for name in sorted(annotations) if chosen is None else chosen:
        source, annotation = annotations.get(name, (root / "Annotations" / f"{name}.xml", None))
        try:
            inside(root, name)
            if annotation is None:
                detail = f"'{name}' is in the list of split '{split}', but has no XML file"
                issues.append(Issue("missing-labels", source, detail, "image left out"))
                continue
            beside = by_name.of_label(source)
            used.add(beside)
            if isinstance(annotation, LabelsError):
                raise annotation
            image = beside or _by_filename(root, by_name, source, annotation.filename)
        except LabelsError as error:
            issues.append(Issue("bad-labels", source, str(error), "image left out"))
            continue
        used.add(image)
        target, unknown = build_target(annotation.rows, index, names, source)
        samples.append(Sample(image, target, annotation.declared))
        issues += [replace(issue, image=image) for issue in unknown]
    if chosen is None:
        unused = (image for image in images if image not in used)
        issues += [Issue("missing-labels", image, "no XML file of its name", "image left out") for image in unused]
    samples.sort(key=lambda sample: sample.image.as_posix())
    dataset = Dataset(path, "voc", split, classes, tuple(samples), tuple(issues))
    return not_empty(
        dataset, f"XML files in {folder_named(root, 'annotations') or root}" + (split and f", split '{split}'")
    )


def splits(path: Path) -> dict[str, Path]:
    """Return the list or folder that declares each split."""
    root = _root(path)
    return splits_of(root, _xml_files(root))


def _xml_files(root: Path) -> Iterator[Path]:
    return walk(root, [".xml"], _DEPTH)


def _roots(path: Path) -> list[Path]:
    """Find the folders with VOC's own layout at ``path`` or one level below it."""
    candidates = [path, *sorted(p for p in path.iterdir() if p.is_dir() and visible(p.name))]
    roots = [p for p in candidates if folder_named(p, "annotations") and folder_named(p, "jpegimages")]
    return [path] if path in roots else roots


def _root(path: Path) -> Path:
    """Return the folder of the data set: the one with VOC's own layout, or ``path`` for all others."""
    roots = _roots(path)
    if len(roots) > 1 and not all(role_of(root.name) for root in roots):
        listed = ", ".join(root.name for root in roots)
        raise DataError(f"{path} should hold one folder with Annotations/ and JPEGImages/; it holds: {listed}")
    return roots[0] if len(roots) == 1 else path


def _annotations(root: Path) -> tuple[dict[str, tuple[Path, Annotation | LabelsError]], list[Issue]]:
    """Parse all XML files, by the name that a split's list would call them; also list second ones of a name."""
    annotations: dict[str, tuple[Path, Annotation | LabelsError]] = {}
    issues = []
    for file in _xml_files(root):
        name = "/".join((*place(root, file.parent), nfc(file.stem)))
        if name in annotations:
            detail = f"not used: {annotations[name][0]} is for the same image"
            issues.append(Issue("bad-labels", file, detail, "none"))
        else:
            annotations[name] = (file, parse(file))
    return annotations, issues


def _by_filename(root: Path, images: ImageIndex, source: Path, filename: str) -> Path:
    """Find the image by the XML file's ``<filename>``, for annotations that have another name than their image.

    This is the second choice, since ``<filename>`` is often stale. If that file does not exist either, return the usual
    name, which the check then reports as missing.
    """
    if filename:
        inside(root, filename)
        if image := images.of_name(filename, source):
            return image
    folder = folder_named(root, "jpegimages")
    return (folder or source.parent) / f"{source.stem}.jpg"
