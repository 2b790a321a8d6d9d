"""Read YOLO: one text file per image, each line ``class x y width height`` in fractions of the image's size.

x and y are the box's centre. A line with a class and three or more points is a polygon; its bounds become the box.
Class names are in a yaml file (``names:``), in ``classes.txt``, or where darknet has them. Known layouts:
``images/[<split>/]`` beside ``labels/[<split>/]``; ``<split>/images`` beside ``<split>/labels``; label files beside the
images, as darknet and labelImg write them; or what the yaml file or ``obj.data`` names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssd_edge.data import yolo_layout as layout
from ssd_edge.data.dataset import Dataset, Issue, Sample, Target
from ssd_edge.data.files import LabelsError, build_target, index_classes, not_empty, walk
from ssd_edge.data.yolo_lines import looks_like_labels, parse
from ssd_edge.data.yolo_splits import YoloSplit, choose_yolo_split, images_in, splits_of
from ssd_edge.errors import DataError

_NO_IMAGES = frozenset({"classes.txt", "predefined_classes.txt"})


def recognises(path: Path) -> bool:
    """Tell whether the path is a yaml file or darknet's, or a folder with images and YOLO's labels."""
    if path.is_file():
        return path.suffix.lower() in (*layout.YAML, layout.DATA)
    return layout.has_labels(path)


def label_number(path: Path) -> int:
    """Count the label files of a folder."""
    return len(layout.label_files(path))


def read(path: Path, split: str = "", labels: Sequence[str] | None = None) -> Dataset:
    """Read a YOLO data set.

    An image with no label file is kept as an image with no object, as YOLO's own tools do, and reported.

    Args:
        path: the folder with ``images/``, or the yaml file in it.
        split: a key of the yaml file or a folder of images; "" means all images.
        labels: the class list; by default the names in the yaml file or ``classes.txt``, by number. If neither file
            exists, these are also the names of the class numbers.

    Raises:
        DataError: the class names or the split are missing, or there is no usable image.
    """
    root, config, config_file = _configured(path)
    names = layout.class_names(config, config_file, root, labels)
    classes, index = index_classes(names, labels)
    keypoints = layout.keypoint_numbers(config, config_file)
    declared = _splits(root, config, config_file)
    if split:
        split, chosen = choose_yolo_split(split, declared, root)
        places = list(chosen.places)
    else:
        places = _all_places(layout.image_folders(root), declared)

    samples = []
    images, issues = images_in(places, root)
    find = layout.LabelFinder(root)
    for image in images:
        source = find(image)
        try:
            if not source.is_file():
                detail = f"no label file {source.relative_to(root)}"
                issues.append(Issue("missing-labels", image, detail, "kept as an image with no object"))
                samples.append(Sample(image, Target.of([], [])))
                continue
            rows = parse(source, image, keypoints)
        except LabelsError as error:
            issues.append(Issue("bad-labels", source, str(error), "image left out"))
            continue
        except DataError as error:  # fractions are useless without the image's size
            issues.append(Issue("unreadable-image", image, str(error), "image left out"))
            continue
        target, unknown = build_target(rows, index, names, source)
        samples.append(Sample(image, target))
        issues += [replace(issue, image=image) for issue in unknown]
    lists = {place for one in declared.values() for place in one.places}
    issues += _orphans(root, places, {find(image) for image in images} | lists)
    samples.sort(key=lambda sample: sample.image.as_posix())
    dataset = Dataset(path, "yolo", split, classes, tuple(samples), tuple(issues))
    where = ", ".join(str(place) for place in dict.fromkeys(places))
    return not_empty(dataset, f"image files in {where}")


def splits(path: Path) -> dict[str, Path]:
    """Return the folder, text file or yaml file that declares each split."""
    return {name: split.source for name, split in _splits(*_configured(path)).items()}


def _configured(path: Path) -> tuple[Path, dict[str, Any], Path | None]:
    """Return the data set's folder, and the content and path of the file that describes it."""
    folder = path.parent if path.is_file() else path
    config_file = path if path.is_file() else layout.find_description(folder)
    config = layout.load(config_file) if config_file else {}
    return layout.base(folder, config), config, config_file


def _splits(root: Path, config: Mapping[str, Any], config_file: Path | None) -> dict[str, YoloSplit]:
    return splits_of(root, layout.image_folders(root), config, config_file)


def _all_places(folders: Sequence[Path], splits: Mapping[str, YoloSplit]) -> list[Path]:
    """Return the folders of images, and the places of splits that are not below them."""
    named = [place for one in splits.values() for place in one.places]
    return [*folders, *(place for place in named if set(folders).isdisjoint([place, *place.parents]))]


def _orphans(root: Path, places: Sequence[Path], used: set[Path]) -> list[Issue]:
    """Report label files whose image is missing."""
    folders = dict.fromkeys(layout.label_folder(root, place) for place in places if place.is_dir())
    files = dict.fromkeys(file for folder in folders if folder.is_dir() for file in walk(folder, [".txt"]))
    return [
        Issue("missing-image", file, "a label file with no image of this name", "none")
        for file in files
        if file not in used and file.name not in _NO_IMAGES and ("labels" in file.parts or looks_like_labels(file))
    ]
