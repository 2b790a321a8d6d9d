"""The lock beside a bundle: one process at a time changes it, and who reads it notices that it was replaced."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from ssd_edge.errors import SsdEdgeError
from ssd_edge.progress import Note, no_note

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")

_WAIT = 0.2
"""Seconds that a reader gives a writer between two renames, where a file system cannot exchange two folders at once."""


@contextmanager
def locked(folder: Path, note: Note = no_note) -> Iterator[None]:
    """Hold a bundle's lock, ``.NAME.lock`` beside it; wait while another process holds it.

    Args:
        folder: the bundle, which need not exist.
        note: called with a sentence where it has to wait, or where the file system has no locks.

    Raises:
        OSError: the lock's file cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    descriptor = _acquired(folder, note)
    try:
        yield
    finally:
        _lock_file(folder).unlink(missing_ok=True)
        os.close(descriptor)


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _acquired(folder: Path, note: Note) -> int:
    """Lock the file and return its descriptor; the file of a process that has ended meanwhile is no longer there."""
    path = _lock_file(folder)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor, folder, note)
            if _is_same(descriptor, path):
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, note: Note) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "another"
        note(f"waiting for process {holder}, which is writing {folder}")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        note(f"{folder} is written without a lock, which its file system does not have ({error.strerror})")


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def remove_leftovers(folder: Path, note: Note) -> None:
    """Remove what killed builds of a bundle have left beside it; only who holds the lock may call this.

    Args:
        folder: the bundle.
        note: called with a sentence if there was something.
    """
    prefix = f".{folder.name}."
    left = [
        path
        for path in folder.parent.iterdir()
        if path.name.startswith(prefix)
        and re.fullmatch(r"[a-z0-9_]{8}", path.name[len(prefix) :])
        and path.is_dir()
        and not path.is_symlink()
    ]
    for path in left:
        shutil.rmtree(path)
    if left:
        note(f"removed {', '.join(path.name for path in left)}, left behind by a build that was killed")


def read_steadily(folder: Path, read: Callable[[], T], discard: Callable[[T], None] = lambda _: None) -> T:
    """Read from a bundle, and once again if it was replaced meanwhile.

    Args:
        folder: the bundle.
        read: reads it.
        discard: called with the result of the first reading where it is read again.
    """
    before = _identity(folder)
    try:
        result = read()
    except (SsdEdgeError, OSError):
        if not _replaced(folder, before):
            raise
    else:
        if not _replaced(folder, before):
            return result
        discard(result)
    return read()


def _identity(folder: Path) -> tuple[int, ...] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _replaced(folder: Path, before: tuple[int, ...] | None) -> bool:
    now = _identity(folder)
    if now is None and _lock_file(folder).exists():
        time.sleep(_WAIT)
        now = _identity(folder)
    return now is not None and now != before
