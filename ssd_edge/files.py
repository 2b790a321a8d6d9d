"""Write files completely or not at all, replace folders in one step, and compute checksums.

What takes its name here is on the disk before it does, so that after a power cut the name stands for the complete old
or the complete new content.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LFS = b"version https://git-lfs"
LFS_ADVICE = "is a Git LFS pointer and not the file itself: fetch that with git lfs pull"
"""What to say of ``is_lfs_pointer``, after the file's name."""


def user_cache() -> Path:
    """Return the folder for caches, which can be deleted at any time; for a user without a home, none can be made."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(chosen or Path.home() / ".cache") / "ssd-edge"
    except RuntimeError:  # neither HOME nor an entry in the system's list of users, as in a container
        return Path(os.devnull) / "ssd-edge"


def is_utf8(path: Path | str) -> bool:
    """Tell whether a file's name is UTF-8: Linux allows any bytes, many libraries written in C++ do not."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def stamp(file: Path) -> tuple[int, int]:
    """Return what changes when a file is written again: its size in bytes, and when that was in nanoseconds.

    Raises:
        OSError: there is no such file.
    """
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns


def is_lfs_pointer(path: Path) -> bool:
    """Tell whether a file is Git LFS's pointer to another, as a clone without Git LFS leaves it."""
    try:
        with path.open("rb") as file:
            return file.read(len(_LFS)) == _LFS
    except OSError:
        return False


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that replaces it at the end of the block, or is removed on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{shortened(path.name)}.{os.getpid()}.part")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        # Writing does not name the file, and the partial's name says nothing to a user.
        if error.errno is not None and error.filename in {None, str(partial)}:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text_whole(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all; of names that are no text, the bytes are spelt out.

    A file that is replaced leaves the new one its permissions: who could not read it cannot read that.

    Raises:
        OSError: it cannot be written.
    """
    with written_whole(path) as partial:
        is_there = path.exists()
        if is_there:
            partial.touch(0o600)
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        if is_there:
            shutil.copymode(path, partial)


def sync(file: Path) -> None:
    """Wait until the content of a file is on the disk.

    Raises:
        OSError: it cannot be written there, as on a full or broken disk.
    """
    with file.open("rb" if os.name == "posix" else "rb+") as opened:
        sync_open(opened.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that and the folder can be read."""
    if os.name == "posix" and os.access(folder, os.R_OK):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            sync_open(descriptor)
        finally:
            os.close(descriptor)


def sync_open(descriptor: int) -> None:
    """Wait until what was written to an open file is on the disk; a pipe, a device or a folder may have none.

    Raises:
        OSError: it cannot be written there.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EROFS}:
            raise


def shortened(name: str, most: int = 200) -> str:
    """Cut a file's name to a number of bytes, so that what is added to it does not make it too long."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= most else encoded[:most].decode(errors="ignore")


def replace_folder(new: Path, target: Path) -> None:
    """Move a finished folder to ``target``; a folder already there is moved to ``new``.

    On Linux the two are exchanged in one step, so that other processes, or a power cut, see the complete old or the
    complete new folder. Elsewhere it takes two renames, and the old folder is put back if the second fails.
    """
    _sync_tree(new)
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
    sync_folder(target.parent)


def _sync_tree(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            sync(Path(place, name))
        sync_folder(Path(place))


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; return False if the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD in <fcntl.h> and RENAME_EXCHANGE in <stdio.h>
    return (
        renameat2 is not None
        and renameat2(here, os.fsencode(first), here, os.fsencode(second), ctypes.c_uint(exchange)) == 0
    )
