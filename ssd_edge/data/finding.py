"""Find the image that a label means, by a name that was written on another machine."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

_ROLES = frozenset({"annotations", "annotation", "ann", "xml", "xmls", "labels", "label"}) | frozenset(
    {"jpegimages", "images", "image", "imgs", "img"}
)
"""Names of folders that say what is in them, not which part of the data set it is."""


def nfc(name: str) -> str:
    """Return a name in Unicode's composed form, in which names are compared: macOS writes é as e and an accent."""
    return unicodedata.normalize("NFC", name)


def place(root: Path, folder: Path) -> tuple[str, ...]:
    """Return the folders between a root and a file that tell parts of the data set apart, such as ``train``."""
    return tuple(nfc(part) for part in folder.relative_to(root).parts if part.lower() not in _ROLES)


class ImageIndex:
    """The image files below a folder, by name.

    Args:
        root: the folder.
        files: its images, in order of preference if several differ only in their suffix.
    """

    def __init__(self, root: Path, files: Iterable[Path]) -> None:
        self._root = root
        self._by_stem: defaultdict[str, list[Path]] = defaultdict(list)
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for file in files:
            self._by_stem[nfc(file.stem)].append(file)
            self._by_name[nfc(file.name)].append(file)

    def of_label(self, label: Path) -> Path | None:
        """Find the image of a label file: the same name but for the suffix, in the same part of the data set."""
        return self._in_part(self._by_stem.get(nfc(label.stem), []), place(self._root, label.parent))

    def of_name(self, name: str, label: Path) -> Path | None:
        """Find the image that a label file calls ``name``, in the same part of the data set."""
        relative = PurePosixPath(name.replace("\\", "/"))
        return self._in_part(self._by_name.get(nfc(relative.name), []), place(self._root, label.parent))

    def ending_in(self, name: str) -> Path | None:
        """Find the only image whose path ends in ``name``, or in its last parts if its first are of another machine.

        The name may have no suffix.
        """
        *folders, last = tuple(nfc(part) for part in PurePosixPath(name.replace("\\", "/")).parts) or ("",)
        images = self._by_name.get(last) or self._by_stem.get(last, [])
        for start in range(len(folders) + 1):
            tail = tuple(folders[start:])
            if same := [image for image in images if self._lies_in(image, tail)]:
                return same[0] if len(same) == 1 else None
        return None

    def _lies_in(self, image: Path, tail: tuple[str, ...]) -> bool:
        """Tell whether the folders around an image end in these."""
        folders = tuple(map(nfc, image.relative_to(self._root).parts[:-1]))
        return folders[max(0, len(folders) - len(tail)) :] == tail

    def _in_part(self, images: list[Path], part: tuple[str, ...]) -> Path | None:
        parts = [place(self._root, image.parent) for image in images]
        same = [image for image, other in zip(images, parts, strict=True) if other == part]
        near = [image for image, other in zip(images, parts, strict=True) if _near(part, other)]
        return same[0] if same else near[0] if len(near) == 1 else None


def _near(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """Tell whether one place is the end of the other, as of ``cam1`` and ``raw/cam1``."""
    shorter, longer = sorted((first, second), key=len)
    return longer[len(longer) - len(shorter) :] == shorter
