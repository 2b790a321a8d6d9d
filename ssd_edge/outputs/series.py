"""Names of recordings: in the order in which they were made, never one twice, and told from all other files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from io import FileIO
from os import DirEntry, scandir
from pathlib import Path
from time import time
from typing import NamedTuple

from ssd_edge.files import shortened

_MOST_BYTES = 90  # of what the user's name gives to a recording's
_TIME = r"\d{8}T\d{6}Z"


class Recording(NamedTuple):
    """A recording on the disk: its number, its files, their size in bytes, and when the last was modified."""

    number: int
    paths: tuple[Path, ...]
    size: int
    modified: float


class Series:
    """The recordings of one output: ``STEM-NUMBER-TIME[-ABOUT].SUFFIX``, such as ``out-00000007-20260731T115019Z.mp4``.

    The number grows by one from the highest in the folder, also after a restart, so that names sort in the order of
    recording even if the clock jumps. TIME is UTC. Files of one number and one name up to the suffix belong together.

    Args:
        folder: where they lie.
        stem: the first part of their names.
        suffixes: what their names may end in, such as ``.mp4``.

    Attributes:
        in_use: files that are being written.
    """

    def __init__(self, folder: Path, stem: str, suffixes: Sequence[str]) -> None:
        self.folder, self._stem, self._suffixes = folder, shortened(stem, _MOST_BYTES), set(suffixes)
        self._pattern = self._compiled()
        self.in_use: set[Path] = set()
        self._last = 0

    def _compiled(self) -> re.Pattern[str]:
        endings = "|".join(map(re.escape, sorted(self._suffixes)))
        return re.compile(rf"({re.escape(self._stem)}-(\d{{8,}})-{_TIME}(?:-.*)?)(?:{endings})")

    def takes_on(self, folder: Path, stem: str, suffixes: Sequence[str]) -> bool:
        """Take on the names of another series if some of them are this one's too; return whether that is so."""
        same = self.folder.resolve() == folder.resolve() and self._stem == shortened(stem, _MOST_BYTES)
        if same and not self._suffixes.isdisjoint(suffixes):
            self._suffixes.update(suffixes)
            self._pattern = self._compiled()
            return True
        return False

    def begin(self, suffix: str, about: str = "", at: float | None = None) -> tuple[Path, FileIO]:
        """Make the file of the next recording.

        Args:
            suffix: one of the suffixes.
            about: a last part of the name.
            at: the time in the name, in seconds of ``time.time``; now if not given.

        Raises:
            OSError: it cannot be made.
        """
        moment = datetime.fromtimestamp(time() if at is None else at, timezone.utc)
        self._last = max(self._last, *(recording.number for recording in self.listed()), 0)
        while True:
            self._last += 1
            name = f"{self._stem}-{self._last:08d}-{moment:%Y%m%dT%H%M%SZ}{about and f'-{about}'}{suffix}"
            path = self.folder / name
            try:
                file = FileIO(path, "xb")
            except FileExistsError:
                continue
            self.in_use.add(path)
            return path, file

    def listed(self) -> list[Recording]:
        """List the recordings in the folder in their order; links and folders are none, whatever their names."""
        found: dict[str, list[DirEntry[str]]] = {}
        with suppress(FileNotFoundError), scandir(self.folder) as entries:  # a folder may have to be made yet
            for entry in entries:
                match = self._pattern.fullmatch(entry.name)
                if match is not None and entry.is_file(follow_symlinks=False):
                    found.setdefault(match[1], []).append(entry)
        return sorted(filter(None, map(self._recording, found.values())))

    def size(self) -> int:
        """Bytes of all recordings."""
        return sum(one.size for one in self.listed())

    def removable(self) -> int:
        """Bytes of those that are not being written."""
        return sum(one.size for one in self.oldest_first())

    def oldest_first(self) -> Iterator[Recording]:
        """Go through those that are not being written."""
        return (one for one in self.listed() if self.in_use.isdisjoint(one.paths))

    def remove(self, recording: Recording) -> bool:
        """Remove all files of a recording, and return True.

        Raises:
            OSError: one cannot be removed.
        """
        for path in recording.paths:
            path.unlink(missing_ok=True)
        return True

    def _recording(self, entries: Sequence[DirEntry[str]]) -> Recording | None:
        try:
            states = [entry.stat(follow_symlinks=False) for entry in entries]
        except FileNotFoundError:  # removed since
            return None
        match = self._pattern.fullmatch(entries[0].name)
        assert match is not None
        paths = tuple(sorted(self.folder / entry.name for entry in entries))
        size = sum(state.st_size for state in states)
        return Recording(int(match[2]), paths, size, max(state.st_mtime for state in states))
