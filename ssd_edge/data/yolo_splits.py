"""Find the splits of a YOLO data set: folders of images, and what the yaml file or text files declare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

from ssd_edge.data.dataset import Issue
from ssd_edge.data.files import IMAGE_SUFFIXES, LabelsError, choose_split, inside, lines_of, number, visible, walk
from ssd_edge.data.finding import ImageIndex
from ssd_edge.data.roles import WORDS, Role, role_of
from ssd_edge.errors import DataError

_KEYS = frozenset(word for words in WORDS.values() for word in words)
_NOTHING = ("~", "null", "Null", "NULL")
"""How yaml writes that a key has no value."""


class YoloSplit(NamedTuple):
    """One split.

    Attributes:
        source: the folder or text file that declares it; the yaml file if that gives a list of them.
        places: folders of images and text files with one image a line; empty if what is declared is not there.
        declared: the words of the yaml file; empty for a folder that was found.
    """

    source: Path
    places: tuple[Path, ...]
    declared: str = ""


def splits_of(
    root: Path, folders: Sequence[Path], config: Mapping[str, Any], config_file: Path | None
) -> dict[str, YoloSplit]:
    """Find the splits by name.

    Args:
        root: the data set's folder.
        folders: ``images/``, or every ``<split>/images/``; the data set's folder if there is none of them.
        config: the content of the yaml file.
        config_file: the yaml file.

    Raises:
        DataError: the yaml file declares a split by something that is no path or list of paths.
    """
    splits = _folders_of(root, folders)
    for file in sorted(root.glob("*.txt")):
        if file.stem.casefold() in _KEYS and _is_list(root, file):
            splits[file.stem] = YoloSplit(file, (file,))
    for key, value in config.items():
        if key.casefold() in _KEYS and value and value not in _NOTHING:
            splits |= _declared(root, config_file or root, key, value, splits)
    return splits


def _folders_of(root: Path, folders: Sequence[Path]) -> dict[str, YoloSplit]:
    """Return the folders of images by the names that tell splits apart, several of one name as one split."""
    by_name: dict[str, list[Path]] = {}
    for folder in folders:
        if folder.parent == root or folder == root:
            here = sorted(p for p in folder.iterdir() if p.is_dir() and visible(p.name))
            inner = [p for p in here if folder != root or next(walk(p, IMAGE_SUFFIXES), None)]
            by_name.update({p.name: [p] for p in inner})
        else:
            by_name.setdefault(folder.parent.name, []).append(folder)
    return {name: YoloSplit(places[0], tuple(places)) for name, places in by_name.items()}


def _declared(
    root: Path, config_file: Path, key: str, value: object, others: Mapping[str, YoloSplit]
) -> dict[str, YoloSplit]:
    """Return the split that a key of the yaml file declares; nothing if it is missing and a folder stands for it."""
    values = value if isinstance(value, list) else [value]
    paths = [one for one in values if isinstance(one, str)]
    places = tuple(_locate(root, config_file.parent, one) for one in paths)
    if len(paths) < len(values) or any(
        _is_number(one) and not place.exists() for one, place in zip(paths, places, strict=True)
    ):
        raise DataError(f"{config_file}: {key}: should name a folder, a text file or a list of them, but is {value}")
    if all(place.exists() for place in places):
        return {key: YoloSplit(places[0] if len(places) == 1 else config_file, places)}
    if any(name.casefold().startswith(key.casefold()) for name in others):
        return {}
    missing = next(place for place in places if not place.exists())
    return {key: YoloSplit(missing, (), f"{config_file} declares {key}: {value}")}


def _is_number(text: str) -> bool:
    try:
        number(text)
    except LabelsError:
        return False
    return True


def choose_yolo_split(split: str, splits: Mapping[str, YoloSplit], root: Path) -> tuple[str, YoloSplit]:
    """Find a split by name, see ``choose_split``.

    Raises:
        DataError: there is no such split, or what the yaml file declares for it is not there.
    """
    usable = [name for name, one in splits.items() if one.places]
    missing = next(
        (one for name, one in splits.items() if name.casefold() == split.casefold() and not one.places), None
    )
    if missing is not None:
        listed = ", ".join(sorted(usable)) or "none"
        raise DataError(
            f"{missing.declared}, and {missing.source} is not there: correct it or take the line out; "
            f"{root} has: {listed}"
        )
    name = choose_split(split, usable, root)
    return name, splits[name]


def images_in(places: Iterable[Path], root: Path) -> tuple[list[Path], list[Issue]]:
    """List the images of folders and text files, each once, and an issue for each line whose image is not there.

    Raises:
        DataError: a text file cannot be read.
    """
    images: dict[Path, None] = {}
    issues = []
    find = _Finder(root)
    for place in places:
        if place.is_dir():
            images |= dict.fromkeys(walk(place, IMAGE_SUFFIXES))
            continue
        for line in _lines(place):
            image = find(place, line)
            if image is not None:
                images[image] = None
            else:
                issues.append(Issue("missing-image", place, f"it lists {line!r}, which is not there", "image left out"))
    return list(images), issues


class _Finder:
    """Find the images that the lines of text files name."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, file: Path, line: str) -> Path | None:
        """Return the image of a line, with or without its suffix; None if it is not there."""
        image = _locate(self._root, file.parent, line)
        if image.is_file() and image.suffix.lower() in IMAGE_SUFFIXES:
            return image
        elsewhere = self._images.ending_in(line)
        if elsewhere is None:
            return None
        role, other = _role(PurePosixPath(line.replace("\\", "/"))), _role(elsewhere.relative_to(self._root))
        # Not the image of its name in another split.
        return elsewhere if None in (role, other) or role == other else None

    @cached_property
    def _images(self) -> ImageIndex:
        return ImageIndex(self._root, walk(self._root, IMAGE_SUFFIXES))


def _role(image: PurePosixPath | Path) -> Role | None:
    """Return the role of the innermost folder around an image that has one."""
    return next((role for name in reversed(image.parts[:-1]) if (role := role_of(name))), None)


def _lines(file: Path) -> list[str]:
    return lines_of(file, "the list of a split")


def _is_list(root: Path, file: Path) -> bool:
    """Tell whether a text file begins with the name of an image, and so is a list and no notes."""
    try:
        lines = _lines(file)
    except DataError:
        return True  # it is named as a split: an error if that split is read
    first = lines[0] if lines else ""
    return not first or Path(first).suffix.lower() in IMAGE_SUFFIXES or _Finder(root)(file, first) is not None


def _locate(root: Path, beside: Path, name: str) -> Path:
    """Find a file or folder that a list or yaml file names, inside the data set.

    Such names are relative to the data set, to the file that holds them, to ``images/``, or to a machine that is not
    this one: the longest ending that exists here is taken. ``..`` never leads out of the data set.
    """
    parts = PurePosixPath(PureWindowsPath(name).as_posix()).parts
    last = max((k for k, part in enumerate(parts) if part in ("..", "/") or part.endswith((":", ":/"))), default=-1)
    parts = parts[last + 1 :] or (".",)
    try:
        for k in range(len(parts)):
            tail = "/".join(parts[k:])
            bases = dict.fromkeys((root, beside, root / "images"))
            for place in (inside(base, tail) for base in bases if base.is_relative_to(root)):
                if place.exists() and (k == 0 or _tells_enough(place, len(parts) - k)):
                    return place
        return inside(root, "/".join(parts))
    except LabelsError as error:
        raise DataError(f"{root}: {error}") from None


def _tells_enough(place: Path, number: int) -> bool:
    """Tell whether a shortened name still means one place: ``images`` alone could be of any split."""
    return number > 1 or place.is_file() or role_of(place.name) is not None
