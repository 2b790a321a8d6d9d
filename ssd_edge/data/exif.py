"""Read the orientation and the size in TIFF tags, which TIFF files begin with and EXIF blocks consist of.

Read here, not by OpenCV, since its versions differ: before 4.11 it ignores EXIF in WebP, and later it ignores a block
that begins with ``Exif\\0\\0`` there. Layout and tag numbers: TIFF 6.0, section 2; the eight
orientations: EXIF 2.32, section 4.6.4.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

WIDTH, HEIGHT, ORIENTATION = 256, 257, 274

_PREFIX = b"Exif\0\0"  # what JPEG needs, and other formats have by mistake
_FORMS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # BYTE, SHORT, LONG; LONG8 of BigTIFF


class Tag(NamedTuple):
    """A whole number in the first directory: its value, and where and how it is stored."""

    value: int
    offset: int
    form: str


def orientation(block: bytes) -> int:
    """Return the orientation 1..8 in an EXIF block with or without ``Exif\\0\\0``; 1, upright, if it says nothing."""
    tag = tags(block[len(_PREFIX) :] if block.startswith(_PREFIX) else block).get(ORIENTATION)
    return tag.value if tag and 1 <= tag.value <= 8 else 1


def tags(data: bytes) -> dict[int, Tag]:
    """Read the whole numbers of the first directory; nothing from bytes that are no TIFF, or that end too early."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    try:
        version = struct.unpack_from(f"{order}H", data, 2)[0] if order else 0
        if order and version == 42:
            return _directory(data, struct.unpack_from(f"{order}I", data, 4)[0], f"{order}H", f"{order}HHI")
        if order and version == 43:  # BigTIFF
            return _directory(data, struct.unpack_from(f"{order}Q", data, 8)[0], f"{order}Q", f"{order}HHQ")
    except (struct.error, OverflowError):  # it ends too early
        pass
    return {}


def _directory(data: bytes, at: int, number: str, entry: str) -> dict[int, Tag]:
    """Read the directory at an offset, given the forms of its number of entries and of an entry up to its value."""
    count = struct.unpack_from(number, data, at)[0]
    at += struct.calcsize(number)
    size = struct.calcsize(entry) + struct.calcsize(entry[0] + entry[-1])
    entries: dict[int, Tag] = {}
    for place in range(at, min(at + count * size, len(data) - size + 1), size):
        key, kind, values = struct.unpack_from(entry, data, place)
        if kind in _FORMS and values == 1:
            form, offset = entry[0] + _FORMS[kind], place + struct.calcsize(entry)
            if struct.calcsize(form) <= size - struct.calcsize(entry):
                entries.setdefault(key, Tag(struct.unpack_from(form, data, offset)[0], offset, form))
    return entries
