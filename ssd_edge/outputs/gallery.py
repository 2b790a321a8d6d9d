"""The annotated images of a folder, which are told from all other pictures there by a mark inside them."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import listdir, scandir
from pathlib import Path
from stat import S_ISREG
from time import monotonic

from ssd_edge.outputs.series import Recording

_NAME = re.compile(r"(\d{6,})(?:-.*)?\.jpg", re.DOTALL)
_COMMENT = b"annotated by ssd-edge"
_MARK = b"\xff\xfe" + (2 + len(_COMMENT)).to_bytes(2, "big") + _COMMENT  # a comment segment
_NOT_OURS = float("-inf")
_APP0, _HEAD = b"\xff\xe0", 256
_LOOK_EVERY = 600.0  # seconds between looks for images that others have removed


def marked(jpeg: bytes) -> bytes:
    """Return a JPEG with a comment that says who made it; the first segment stays the first, as JFIF wants it."""
    at = 4 + int.from_bytes(jpeg[4:6], "big") if jpeg[2:4] == _APP0 else 2
    return jpeg[:at] + _MARK + jpeg[at:]


def _is_marked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _MARK in file.read(_HEAD)
    except OSError:  # removed since, or not ours to read
        return False


class Gallery:
    """The annotated images of a folder, oldest first, also those of earlier runs; any thread may use it.

    An image is a file, not a link, that is named as in ``numbered_name`` and marked. The folder is read once, in a
    thread of its own, since that takes a while with many images: until ``listed`` is set, images of earlier runs are
    not counted. From then on what is written here is noted, at about 300 bytes of memory an image.

    Args:
        folder: the folder.
        clock: monotonic seconds.

    Attributes:
        folder: the folder.
        listed: set when the folder has been read.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = monotonic) -> None:
        self.folder, self._clock = folder, clock
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._total, self._looked = 0, clock()
        self._lock = threading.Lock()
        self.listed = threading.Event()
        threading.Thread(target=self._list, name="list images", daemon=True).start()

    @contextmanager
    def writing(self, name: str, size: int) -> Iterator[None]:
        """Note an image that is written meanwhile, in place of one of that name; after an error it is not noted."""
        with self._lock:
            self._forget(name)
            yield
            self._sizes[name] = size
            self._total += size

    def size(self) -> int:
        """Bytes of all images."""
        with self._lock:
            if self._clock() - self._looked >= _LOOK_EVERY:
                self._look_for_removed()
            return self._total

    removable = size

    def oldest_first(self) -> Iterator[Recording]:
        """Go through the images; one that is not what was noted is as old as can be, so that it is forgotten first."""
        with self._lock:
            noted = list(self._sizes.items())
        for name, size in noted:
            match = _NAME.fullmatch(name)
            assert match is not None
            yield Recording(int(match[1]), (self.folder / name,), size, self._modified(name))

    def remove(self, recording: Recording) -> bool:
        """Remove an image, and return True; one that others removed or replaced is only forgotten.

        Raises:
            OSError: it cannot be removed.
        """
        (path,) = recording.paths
        with self._lock:
            if self._modified(path.name) != recording.modified:  # written anew since
                return False
            if recording.modified != _NOT_OURS:
                path.unlink(missing_ok=True)
            self._forget(path.name)
        return recording.modified != _NOT_OURS

    def _modified(self, name: str) -> float:
        try:
            state = (self.folder / name).lstat()
        except OSError:  # removed by others
            return _NOT_OURS
        return state.st_mtime if S_ISREG(state.st_mode) and _is_marked(self.folder / name) else _NOT_OURS

    def _forget(self, name: str) -> None:
        self._total -= self._sizes.pop(name, 0)

    def _look_for_removed(self) -> None:
        self._looked = self._clock()
        with suppress(OSError):
            there = set(listdir(self.folder))  # noqa: PTH208 - no Path for each
            for name in [name for name in self._sizes if name not in there]:
                self._forget(name)

    def _list(self) -> None:
        """Note the images of earlier runs before those that were written meanwhile."""
        found: list[tuple[float, str, int]] = []
        with suppress(OSError), scandir(self.folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False) and _is_marked(Path(entry)):
                    with suppress(FileNotFoundError):  # removed since
                        state = entry.stat(follow_symlinks=False)
                        found.append((state.st_mtime, entry.name, state.st_size))
        found.sort()
        with self._lock:
            written = self._sizes
            self._sizes = OrderedDict((name, size) for _, name, size in found if name not in written)
            self._sizes.update(written)
            self._total = sum(self._sizes.values())
        self.listed.set()
