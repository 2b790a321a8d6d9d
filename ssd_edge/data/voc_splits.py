"""Find the splits of a Pascal VOC data set: lists with one image a line."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path

from ssd_edge.data.files import IMAGE_SUFFIXES
from ssd_edge.data.roles import role_of
from ssd_edge.errors import DataError

_FLAGS = ("1", "0", "-1")
"""What stands behind each name in a list of one class."""

_SUFFIXES = IMAGE_SUFFIXES | {".xml"}


def lists_of(root: Path) -> dict[str, Path]:
    """Return the list of each split by the split's name.

    Lists are in ``ImageSets/Main``, as in the original; else in ``ImageSets``; else, if their names tell what they are
    for, in the data set's folder.
    """
    for place in (root / "ImageSets" / "Main", root / "ImageSets", root):
        lists = {p.stem: p for p in sorted(place.glob("*.txt")) if not p.name.startswith(".")}
        if place == root:
            lists = {name: file for name, file in lists.items() if role_of(name)}
        if lists:
            return {name: file for name, file in lists.items() if not _is_per_class(name, file, lists)}
    return {}


def choose_list(root: Path, split: str, known: Collection[str]) -> tuple[str, list[str] | None]:
    """Return the name of a split and its image names; None means all images.

    Args:
        root: the data set's folder.
        split: the split; "" for ``trainval`` if there is one, else all images. Capitals make no difference.
        known: the names of all images, which the result uses.

    Raises:
        DataError: the split does not exist, or its list cannot be read.
    """
    lists = lists_of(root)
    if not split:
        split = next((name for name in sorted(lists) if name.casefold() == "trainval"), "")
        if not split:
            return "", None
    names = [name for name in lists if name == split] or [name for name in lists if name.casefold() == split.casefold()]
    if len(names) != 1:
        listed = ", ".join(sorted(lists)) or "none"
        raise DataError(f"{root} has no split '{split}'; ImageSets/Main has: {listed}")
    by_composed_name = {_composed(name): name for name in known}
    return names[0], [_image_name(line, by_composed_name) for line in _lines(lists[names[0]])]


def _is_per_class(name: str, file: Path, lists: Collection[str]) -> bool:
    """Tell whether a list is of one class (cat_train.txt, with 1 and -1 behind each name), and so is no split."""
    if not any(name.endswith(f"_{other}") for other in lists):
        return False
    try:
        lines = [line.split() for line in _lines(file)]
    except DataError:
        return False  # an error if this split is read
    return bool(lines) and all(len(words) > 1 and words[-1] in _FLAGS for words in lines)


def _lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file}, the list of split '{file.stem}': {error}") from None
    return [line.strip() for line in lines if line.strip()]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _image_name(line: str, known: Mapping[str, str]) -> str:
    """Return the image's name in a line of a list.

    There may be a folder before it, and behind it a suffix, a flag or a second file; accents may be composed or
    not. A name that is not known stays as it is, so that the issue shows the line.
    """
    for text in (line, line.split()[0]):
        name = text.replace("\\", "/").rpartition("/")[2]
        stem, dot, suffix = name.rpartition(".")
        is_suffix = dot and f".{suffix.lower()}" in _SUFFIXES
        for candidate in (text, name, *([stem] if is_suffix else [])):
            if _composed(candidate) in known:
                return known[_composed(candidate)]
    return line
