"""Names of the files that a sink writes: short enough, and of characters that every file system takes."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from ssd_edge.data.finding import nfc

_MOST_BYTES = 140  # most file systems take 255, encrypted home folders (eCryptfs) 143
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ufffd]')


def numbered_name(index: int, source: str | None) -> str:
    """Name a picture's annotated copy: ``000007.jpg``, or ``000007-NAME.jpg`` for a picture named NAME.

    NAME is composed (NFC); what is no UTF-8, or is forbidden on Windows and its disks, becomes an underscore, and a
    long NAME is cut between characters.

    Args:
        index: the frame's number.
        source: the picture's file name; None where the frame has none.
    """
    if source is None:
        return f"{index:06d}.jpg"
    stem = name_part(Path(source).stem, _MOST_BYTES - len(f"{index:06d}-.jpg"))
    return f"{index:06d}-{stem}.jpg" if stem else f"{index:06d}.jpg"


def name_part(text: str, room: int) -> str:
    """Make of any text a part of a file's name that takes at most ``room`` bytes; it may become empty."""
    readable = os.fsencode(text).decode("utf-8", "replace")
    part = _FORBIDDEN.sub("_", nfc(readable))
    while len(part.encode()) > room:
        cut, part = part[-1], part[:-1]
        while unicodedata.combining(cut) and part:  # a mark goes with its letter
            cut, part = part[-1], part[:-1]
    return part.rstrip(" .")
