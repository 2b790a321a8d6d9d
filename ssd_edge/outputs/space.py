"""Room on the disk for recordings: a quota, a floor of free space, and the oldest recordings, which make room."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

from ssd_edge.outputs.series import Recording, Series
from ssd_edge.outputs.sink import DiskFullError, cannot_write
from ssd_edge.parsing import bytes_as_text

FLOOR, SMALL_DISK = 1_000_000_000, 0.05
"""Bytes that recordings leave free where nothing else is asked for, and the share of a smaller disk."""

_CHECK_EVERY = 1.0
_SLACK = 1.05  # a disk that was too full has room again with so many times the floor, lest recordings begin in turns


class Space:
    """The room that recordings of one run may take; shared by all its outputs, and usable by any thread.

    Nothing is ever removed unless a quota or a floor is asked for; then the oldest recordings of the outputs that
    ``watch`` was told of go first. A file that is being written stays, and so do all if others have filled the disk so
    far that removing them would not help.

    Args:
        quota: most bytes of these recordings together; None for no limit.
        floor: bytes to leave free on each disk that is written to; None for 1 GB, or 5 % of a disk below 20 GB.
        say: takes a line when recordings are removed for the first time.
        usage: returns the disk's total, used and free bytes at a path.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        quota: int | None = None,
        floor: int | None = None,
        say: Callable[[str], None] = lambda line: None,
        *,
        usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._quota, self._floor, self._say, self._usage, self._clock = quota, floor, say, usage, clock
        self._removes = quota is not None or floor is not None
        self._series: list[Series] = []
        self._checked: dict[Path, float] = {}
        self._full: set[Path] = set()
        self._lock = threading.Lock()
        self.removed = 0

    def watch(self, series: Series) -> None:
        """Count an output's recordings, and let the oldest of them make room."""
        with self._lock:
            self._series.append(series)

    def check(self, folder: Path, now: bool = False) -> None:
        """Make room in a folder if that is due; cheap enough for each frame.

        Args:
            folder: the folder that is written to.
            now: whether to check even if that was done within the last second.

        Raises:
            DiskFullError: there is too little room.
        """
        with self._lock:
            last = self._checked.get(folder)
            due = last is None or self._clock() - last >= _CHECK_EVERY
            if not (now or due or folder in self._full):
                return
            self._checked[folder] = self._clock()
            try:
                self._keep_quota()
                self._keep_floor(folder)
            except OSError as error:
                raise cannot_write(folder, error) from None

    def _keep_quota(self) -> None:
        if self._quota is None:
            return
        used = sum(recording.size for recordings in self._listed() for recording in recordings)
        for oldest in self._oldest_first():
            if used <= self._quota:
                return
            used -= oldest.size
            self._remove(oldest, f"recordings have reached their quota of {bytes_as_text(self._quota)}")

    def _keep_floor(self, folder: Path) -> None:
        total, _, free = self._usage(folder)
        floor = min(FLOOR, int(SMALL_DISK * total)) if self._floor is None else self._floor
        wanted = int(_SLACK * floor) if folder in self._full else floor
        if free < wanted and self._removes:
            free = self._remove_for(folder, free, wanted, f"less than {bytes_as_text(floor)} are free in {folder}")
        if free < wanted:
            self._full.add(folder)
            raise DiskFullError(
                f"cannot write in {folder}: less than {bytes_as_text(floor)} are free on its disk: make room, or set "
                "another limit with --disk-floor"
            )
        self._full.discard(folder)

    def _remove_for(self, folder: Path, free: int, wanted: int, reason: str) -> int:
        """Remove recordings from a disk, unless all of them are too few; return the bytes that are free then."""
        device = folder.stat().st_dev
        there = [one for one in self._oldest_first() if one.paths[0].stat().st_dev == device]
        if free + sum(one.size for one in there) < wanted:
            return free
        for oldest in there:
            if free >= wanted:
                break
            self._remove(oldest, reason)
            free = self._usage(folder)[2]
        return free

    def _oldest_first(self) -> Iterator[Recording]:
        """Go through all recordings that may be removed: in each series by number, since a clock may jump."""
        in_use = {path for series in self._series for path in series.in_use}
        waiting = [[one for one in recordings if in_use.isdisjoint(one.paths)] for recordings in self._listed()]
        while any(waiting):
            yield min((recordings for recordings in waiting if recordings), key=lambda each: each[0].modified).pop(0)

    def _listed(self) -> list[list[Recording]]:
        """List the recordings of each series; an output that was opened anew has its old one's, which count once."""
        seen: set[tuple[Path, ...]] = set()
        lists = []
        for series in self._series:
            lists.append([one for one in series.listed() if one.paths not in seen])
            seen.update(one.paths for one in lists[-1])
        return lists

    def _remove(self, recording: Recording, reason: str) -> None:
        for path in recording.paths:
            path.unlink(missing_ok=True)
        if not self.removed:
            self._say(f"{reason}: from now on the oldest recordings are removed, {recording.paths[0]} first")
        self.removed += 1
