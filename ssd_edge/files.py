"""Files written whole or not at all, and their checksums."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def user_cache() -> Path:
    """The folder for what can be made again at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssd-edge"


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place at the end of the block, and is removed on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def replace_folder(new: Path, target: Path) -> None:
    """Give a finished folder the name ``target``; what had that name stands at ``new`` afterwards.

    On Linux the two change places in one step: whoever looks, or pulls the plug, finds the old or the new one, whole.
    Elsewhere it takes two renames, and the old one is put back if the second fails.
    """
    if not target.exists():
        new.replace(target)
    elif not _exchanged(new, target):
        aside = new.with_name(f"{new.name}.aside")
        target.replace(aside)
        try:
            new.replace(target)
        except BaseException:
            aside.replace(target)
            raise
        aside.replace(new)


def _exchanged(first: Path, second: Path) -> bool:
    """Whether the system made two paths change places; False where it or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of <fcntl.h>, <stdio.h>
    return (
        renameat2 is not None
        and renameat2(here, os.fsencode(first), here, os.fsencode(second), ctypes.c_uint(exchange)) == 0
    )
