"""Helpers for the readers: safe paths, numbers from text, class lists."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Generic, TypeVar

from ssd_edge.data.dataset import Dataset, Issue, Target
from ssd_edge.data.finding import nfc
from ssd_edge.errors import DataError

Key = TypeVar("Key", bound=Hashable)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class LabelsError(ValueError):
    """A label file or entry that cannot be understood; ``str(error)`` says why."""


@dataclass(frozen=True)
class Row(Generic[Key]):
    """One object from a label file: ``box`` is x1, y1, x2, y2 in pixels, ``key`` its class."""

    key: Key
    box: tuple[float, float, float, float]
    difficult: bool = False
    crowd: bool = False


def number(value: object) -> float:
    """Read a number from text or JSON; NaN if it is too large for float32, so that the check leaves its box out.

    Raises:
        LabelsError: the value is not a number.
    """
    if not isinstance(value, (str, int, float)):
        raise LabelsError(f"{_short(value)} is not a number")
    try:
        result = float(value)
    except (ValueError, OverflowError):
        raise LabelsError(f"{_short(value)} is not a number") from None
    return result if abs(result) < 1e30 else float("nan")


def declared_size(width: object, height: object) -> tuple[int, int] | None:
    """Return the size of an image by its labels; None if they give none, which some tools write as 0."""
    try:
        size = number(width), number(height)
    except LabelsError:
        return None
    known = all(side >= 1 and math.isfinite(side) for side in size)
    return (int(size[0]), int(size[1])) if known else None


def inside(folder: Path, name: object) -> Path:
    """Return the path of ``name`` below ``folder``; backslashes, as on Windows, are accepted.

    A downloaded data set's labels are untrusted text, so they may not point at files elsewhere. Symbolic links are
    followed, since a person made them on this machine.

    Raises:
        LabelsError: the name is not text, is empty or absolute, or contains ``..``.
    """
    if not isinstance(name, str) or not _can_be_a_file(name):
        raise LabelsError(f"{_short(name)} is not a file name")
    relative = PurePosixPath(name.replace("\\", "/"))
    if relative.is_absolute() or PureWindowsPath(name).drive or ".." in relative.parts:
        raise LabelsError(f"the file name {_short(name)} leads out of the data set's folder")
    return folder / relative


def _can_be_a_file(name: str) -> bool:
    """Tell whether a file can have this name at all, so that no later call fails on it."""
    try:
        parts = os.fsencode(name).replace(b"\\", b"/").split(b"/")
    except UnicodeEncodeError:
        return False
    return bool(name.strip()) and "\0" not in name and max(map(len, parts)) <= 255


def walk(folder: Path, suffixes: Iterable[str], depth: int = 99) -> Iterator[Path]:
    """List the files below ``folder`` with one of ``suffixes``, sorted, without hidden ones; follow each link once.

    Args:
        folder: where to begin.
        suffixes: in small letters, with the dot.
        depth: number of folders to go down; 0 for the folder alone.
    """
    wanted, seen, files = frozenset(suffixes), set(), []
    for top, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        here = Path(top)
        if here.resolve() in seen:
            folders.clear()  # a link to a folder that was already visited, such as a parent
            continue
        seen.add(here.resolve())
        folders[:] = [f for f in folders if visible(f)] if len(here.relative_to(folder).parts) < depth else []
        files += [here / n for n in names if Path(n).suffix.lower() in wanted and visible(n)]
    return iter(sorted(files))


def lines_of(file: Path, what: str = "") -> list[str]:
    """Return the lines of a text file that hold something, without white space around them.

    Args:
        file: the file, in UTF-8.
        what: what the file is, for the error.

    Raises:
        DataError: it cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file}{what and f', {what}'}: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def visible(name: str) -> bool:
    """Tell whether a name is not hidden; macOS leaves ``._name.xml`` and ``__MACOSX/`` in archives."""
    return not name.startswith(".") and name != "__MACOSX"


def _raise(error: OSError) -> None:
    """Raise an error of ``os.walk``, which by default skips unreadable folders silently."""
    raise error


def index_classes(names: Mapping[Key, str], wanted: Sequence[str] | None) -> tuple[tuple[str, ...], dict[Key, int]]:
    """Return the class list, and the index in it of each key whose name it contains; names are compared in NFC.

    Args:
        names: class names by the format's own key, in the order of the class list.
        wanted: the class list to use instead, such as a model's; None uses ``names``.
    """
    labels = tuple(dict.fromkeys(map(nfc, names.values()))) if wanted is None else tuple(wanted)
    position = {nfc(name): i for i, name in enumerate(labels)}
    return labels, {key: position[nfc(name)] for key, name in names.items() if nfc(name) in position}


def build_target(
    rows: Sequence[Row[Key]], index: Mapping[Key, int], names: Mapping[Key, str], path: Path, where: str = ""
) -> tuple[Target, list[Issue]]:
    """Build the target of one image, and an ``unknown-class`` issue for each row whose class is not in ``index``."""
    known = [row for row in rows if row.key in index]
    issues = []
    for place, row in enumerate(rows, 1):
        if row.key not in index:
            name = f"'{names[row.key]}'" if row.key in names else f"number {row.key}"
            detail = f"{where}object {place}: class {name} is not in the class list"
            known_as = names.get(row.key, "")
            issues.append(Issue("unknown-class", path, detail, "box left out", class_name=known_as))
    target = Target.of(
        [row.box for row in known],
        [index[row.key] for row in known],
        [row.difficult for row in known],
        [row.crowd for row in known],
    )
    return target, issues


def choose_split(split: str, splits: Iterable[str], where: Path) -> str:
    """Find the split that is named ``split``, or the only one that begins with it (``train2017`` or ``Train``).

    Capitals make no difference, unless two names differ by them only.

    Raises:
        DataError: no split fits, or several do; the sentence lists all splits.
    """
    available, wanted = sorted(splits), split.casefold()
    fits = (
        [name for name in available if name == split],
        [name for name in available if name.casefold() == wanted],
        [name for name in available if name.casefold().startswith(wanted)],
    )
    matches = next((some for some in fits if some), [])
    if len(matches) == 1:
        return matches[0]
    listed = ", ".join(available) or "none"
    if not split:
        raise DataError(f"{where} has several splits; name one with --split: {listed}")
    problem = f"several splits that begin with '{split}'" if matches else f"no split '{split}'"
    raise DataError(f"{where} has {problem}; it has: {listed}")


def not_empty(dataset: Dataset, looked_for: str) -> Dataset:
    """Return the data set if it has an image.

    Raises:
        DataError: there is no image; the sentence says what was looked for, and gives the first issue.
    """
    if dataset.samples:
        return dataset
    first = f"; first of {len(dataset.issues)} problems: {dataset.issues[0].detail}" if dataset.issues else ""
    raise DataError(f"no usable image in {dataset.root}: looked for {looked_for}{first}")


def _short(value: object) -> str:
    """Format a value for an error sentence: escaped, and at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
