"""Read YOLO: one text file per image, each line ``class x y width height`` in fractions of the image's size.

x and y are the box's centre. A line with a class and three or more points is a polygon; its bounds become the box.
Class names are in a yaml file (``names:``) or in ``classes.txt``. Known layouts: ``images/[<split>/]`` beside
``labels/[<split>/]``; or ``<split>/images`` beside ``<split>/labels``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssd_edge.data.dataset import Dataset, Issue, Sample, Target
from ssd_edge.data.files import (
    LabelsError,
    Row,
    build_target,
    index_classes,
    inside,
    not_empty,
    number,
    walk,
)
from ssd_edge.data.picture import image_size
from ssd_edge.data.yolo_splits import YoloSplit, choose_yolo_split, images_in, splits_of
from ssd_edge.errors import DataError

_YAML = (".yaml", ".yml")
_NO_IMAGES = frozenset({"classes.txt"})


def recognises(path: Path) -> bool:
    """Tell whether the path is a yaml file or a folder in YOLO's layout."""
    return path.suffix.lower() in _YAML if path.is_file() else bool(_image_folders(path))


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
    names = _names(config, config_file, root, labels)
    classes, index = index_classes(names, labels)
    if split:
        split, chosen = choose_yolo_split(split, _splits(root, config, config_file), root)
        places = list(chosen.places)
    else:
        declared = _splits(root, config, config_file)
        places = _image_folders(root) or [place for one in declared.values() for place in one.places]
    folders = [place for place in places if place.is_dir()]

    samples = []
    images, issues = images_in(places, root)
    for image in images:
        source = _label_file(root, image)
        try:
            if not source.is_file():
                detail = f"no label file {source.relative_to(root)}"
                issues.append(Issue("missing-labels", image, detail, "kept as an image with no object"))
                samples.append(Sample(image, Target.of([], [])))
                continue
            rows = _parse(source, image)
        except LabelsError as error:
            issues.append(Issue("bad-labels", source, str(error), "image left out"))
            continue
        except DataError as error:  # fractions are useless without the image's size
            issues.append(Issue("unreadable-image", image, str(error), "image left out"))
            continue
        target, unknown = build_target(rows, index, names, source)
        samples.append(Sample(image, target))
        issues += [replace(issue, image=image) for issue in unknown]
    issues += _orphans(root, folders, images)
    samples.sort(key=lambda sample: sample.image.as_posix())
    dataset = Dataset(path, "yolo", split, classes, tuple(samples), tuple(issues))
    where = ", ".join(map(str, places)) or f"images/ or <split>/images/ in {root}"
    return not_empty(dataset, f"image files in {where}")


def splits(path: Path) -> dict[str, Path]:
    """Return the folder, text file or yaml file that declares each split."""
    return {name: split.source for name, split in _splits(*_configured(path)).items()}


def _configured(path: Path) -> tuple[Path, dict[Any, Any], Path | None]:
    """Return the data set's folder, and the content and path of its yaml file."""
    folder = path.parent if path.is_file() else path
    config_file = path if path.is_file() else _find_config(folder)
    config = _load(config_file) if config_file else {}
    return _base(folder, config), config, config_file


def _find_config(folder: Path) -> Path | None:
    """Find the yaml file with class names in a folder."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _YAML and not p.name.startswith("."))
    named = [file for file in files if "names" in _load(file)] if len(files) > 1 else files
    if len(named) > 1:
        raise DataError(f"{folder} has several yaml files; name one of {', '.join(p.name for p in named)}")
    return named[0] if named else None


def _load(file: Path) -> dict[Any, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        content = yaml.safe_load(file.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"cannot read {file} as yaml: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise DataError(f"{file} is not a YOLO data file: it should hold names: and the class names")
    return content


def _base(folder: Path, config: dict[Any, Any]) -> Path:
    """Return the folder named by the yaml's ``path:`` if it exists inside ``folder``, else ``folder`` itself.

    Copied yaml files often keep a stale path.
    """
    try:
        base = inside(folder, config.get("path"))
    except LabelsError:
        return folder
    return base if base.is_dir() else folder


def _names(
    config: dict[Any, Any], config_file: Path | None, root: Path, labels: Sequence[str] | None
) -> dict[int, str]:
    """Return class names by number, in ascending order."""
    names = config.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, dict) and names:
        if not all(isinstance(k, int) and isinstance(v, (str, int, float)) for k, v in names.items()):
            raise DataError(f"{config_file}: names: should give each class number one name")
        return {key: str(names[key]) for key in sorted(names)}
    file = root / "classes.txt"
    if file.is_file():
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {file}: {error}") from None
        return dict(enumerate(line.strip() for line in lines if line.strip()))
    if labels is not None:
        return dict(enumerate(labels))
    missing = f"{config_file} has no names:" if config_file else f"{root} has no yaml file"
    raise DataError(f"{missing}, so the classes have no names; write {file}, one name a line in their order")


def _image_folders(root: Path) -> list[Path]:
    """Find ``images/``, or every ``<split>/images/``."""
    if (root / "images").is_dir():
        return [root / "images"]
    return sorted(p for p in root.glob("*/images") if p.is_dir())


def _splits(root: Path, config: dict[Any, Any], config_file: Path | None) -> dict[str, YoloSplit]:
    return splits_of(root, _image_folders(root), config, config_file)


def _label_file(root: Path, image: Path) -> Path:
    """Return an image's label file: the last ``images`` in its path below the root becomes ``labels``."""
    return _label_folder(root, image.parent) / f"{image.stem}.txt"


def _label_folder(root: Path, folder: Path) -> Path:
    parts = list(folder.relative_to(root).parts)
    for place in reversed(range(len(parts))):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return root.joinpath(*parts)


def _orphans(root: Path, folders: Sequence[Path], images: Sequence[Path]) -> list[Issue]:
    """Report label files whose image is missing."""
    used = {_label_file(root, image) for image in images}
    places = [_label_folder(root, folder) for folder in folders]
    files = [file for place in places if place.is_dir() for file in walk(place, [".txt"])]
    return [
        Issue("missing-image", file, "a label file with no image of this name", "none")
        for file in files
        if file not in used and file.name not in _NO_IMAGES
    ]


def _parse(source: Path, image: Path) -> list[Row[int]]:
    """Read the objects of one image, in its pixels."""
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelsError(f"it cannot be read: {error}") from None
    filled = [(place, line.split()) for place, line in enumerate(lines, 1) if line.strip()]
    if not filled:
        return []
    width, height = image_size(image)
    rows = []
    for place, words in filled:
        try:
            key, (x1, y1, x2, y2) = _fractions(words)
        except LabelsError as error:
            raise LabelsError(f"line {place}: {error}") from None
        rows.append(Row(key, (x1 * width, y1 * height, x2 * width, y2 * height)))
    return rows


def _fractions(words: Sequence[str]) -> tuple[int, tuple[float, float, float, float]]:
    """Read class number and x1, y1, x2, y2 as fractions from the words of one line."""
    key, *values = map(number, words)
    if not key.is_integer():
        raise LabelsError(f"the class should be a whole number, but is {words[0]}")
    if len(values) == 4:
        x, y, width, height = values
        return int(key), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = values[::2], values[1::2]
        return int(key), (min(xs), min(ys), max(xs), max(ys))
    raise LabelsError(
        f"it should be a class and 4 numbers, or a class and 3 or more points, but has {len(words)} words"
    )
