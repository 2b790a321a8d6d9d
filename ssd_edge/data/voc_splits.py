"""Find the splits of a Pascal VOC data set: lists with one image a line, or folders of XML files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from ssd_edge.data.files import IMAGE_SUFFIXES, choose_split, lines_of, visible
from ssd_edge.data.finding import nfc, place
from ssd_edge.data.roles import role_of
from ssd_edge.errors import DataError

_FLAGS = ("1", "0", "-1")
"""What stands behind each name in a list of one class."""

_SUFFIXES = IMAGE_SUFFIXES | {".xml"}


def folder_named(root: Path, name: str) -> Path | None:
    """Find a folder whatever the case of its name, which tools write differently."""
    return next((p for p in sorted(root.iterdir()) if p.name.lower() == name and p.is_dir()), None)


def splits_of(root: Path, xml_files: Iterable[Path]) -> dict[str, Path]:
    """Return the list of each split by the split's name; where there is no list, the folders of XML files."""
    return _lists_of(root) or _folders_of(root, xml_files)


def choose_annotations(
    root: Path, split: str, known: Collection[str], xml_files: Iterable[Path]
) -> tuple[str, list[str] | None]:
    """Return the name of a split and the names of its annotations; None means all annotations.

    Args:
        root: the data set's folder.
        split: the split; "" for ``trainval`` if there is such a list, else all images. Capitals make no difference.
        known: the names of all annotations in NFC, with their folders, which the result uses.
        xml_files: the files of these.

    Raises:
        DataError: the split does not exist, or its list cannot be read.
    """
    lists = _lists_of(root)
    if not split:
        split = next((name for name in sorted(lists) if name.casefold() == "trainval"), "")
        if not split:
            return "", None
    if not lists and (folders := _folders_of(root, xml_files)):
        split = choose_split(split, folders, root)
        return split, sorted(name for name in known if name.startswith(f"{split}/"))
    names = [name for name in lists if name == split] or [name for name in lists if name.casefold() == split.casefold()]
    if len(names) != 1:
        listed = ", ".join(sorted(lists)) or "none"
        raise DataError(f"{root} has no split '{split}'; ImageSets/Main has: {listed}")
    return names[0], [_listed(line, known) for line in _lines(lists[names[0]])]


def _lists_of(root: Path) -> dict[str, Path]:
    """Return the list of each split by the split's name.

    Lists are in ``ImageSets/Main``, as in the original; else in ``ImageSets``; else, if their names tell what they are
    for, in the data set's folder.
    """
    sets = folder_named(root, "imagesets")
    for folder in (sets and folder_named(sets, "main"), sets, root):
        lists = {p.stem: p for p in sorted(folder.glob("*.txt")) if visible(p.name)} if folder else {}
        if folder == root:
            lists = {name: file for name, file in lists.items() if role_of(name)}
        if lists:
            return {name: file for name, file in lists.items() if not _is_per_class(name, file, lists)}
    return {}


def _folders_of(root: Path, xml_files: Iterable[Path]) -> dict[str, Path]:
    """Return the outermost folder of each part of the data set that XML files are in, by its name."""
    folders: dict[str, Path] = {}
    for inner in dict.fromkeys(file.parent for file in xml_files):
        if part := place(root, inner):
            between = [inner, *inner.parents][: len(inner.relative_to(root).parts)]
            folders.setdefault(part[0], next(folder for folder in reversed(between) if place(root, folder)))
    return folders


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
    return lines_of(file, f"the list of split '{file.stem}'")


def _listed(line: str, known: Collection[str]) -> str:
    """Return the name of the annotation that a line of a list means.

    There may be other folders before it, and behind it a suffix, a flag or a second file; accents may be composed or
    not. A name that is not known stays as it is, so that the issue shows the line.
    """
    return next((name for text in (line, line.split()[0]) for name in _readings(text) if name in known), line)


def _readings(text: str) -> Iterator[str]:
    """Yield the names that a text may mean: with fewer and fewer folders before it, then without its suffix too."""
    path = PurePosixPath(nfc(text.replace("\\", "/")))
    for form in [path, path.with_suffix("")] if path.suffix.lower() in _SUFFIXES else [path]:
        yield from ("/".join(form.parts[start:]) for start in range(len(form.parts)))
