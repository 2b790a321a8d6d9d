"""Room on the disk for recordings: a quota, a floor of free space, and the oldest recordings, which make room."""

from __future__ import annotations

import heapq
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Protocol

from ssd_edge.outputs.gallery import Gallery
from ssd_edge.outputs.series import Recording, Series
from ssd_edge.outputs.sink import DiskFullError, cannot_write
from ssd_edge.parsing import bytes_as_text

FLOOR, SMALL_DISK = 1_000_000_000, 0.05
"""Bytes that recordings leave free where nothing else is asked for, and the share of a smaller disk."""

_CHECK_EVERY = 1.0
_SLACK = 1.05  # a disk that was too full has room again with so many times the floor, lest recordings begin in turns


class Stock(Protocol):
    """What one output has recorded."""

    folder: Path

    def size(self) -> int:
        """Bytes of all recordings."""

    def removable(self) -> int:
        """Bytes of those that may be removed."""

    def oldest_first(self) -> Iterator[Recording]:
        """Go through those that may be removed, which may be done meanwhile."""

    def remove(self, recording: Recording) -> bool:
        """Remove one of them; return whether that was needed and done.

        Raises:
            OSError: it cannot be removed.
        """


class Space:
    """The room that recordings of one run may take; shared by all its outputs, and usable by any thread.

    Nothing is ever removed unless a quota or a floor is asked for; then the oldest recordings of ``series`` and
    ``gallery`` go first. A file that is being written stays, and so do all if others have filled the disk so far that
    removing them would not help. An output that is opened anew, as by a reload, asks for the same again, so that its
    files count once; those of one that is taken out of a service count until the service ends.

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
        self._galleries: dict[Path, Gallery] = {}
        self._checked: dict[Path, float] = {}
        self._full: set[Path] = set()
        self._lock = threading.Lock()
        self.removed = 0

    def series(self, folder: Path, stem: str, suffixes: Sequence[str]) -> Series:
        """Return the series of these names, one however often it is asked for; see ``Series`` for the arguments."""
        with self._lock:
            for known in self._series:
                if known.takes_on(folder, stem, suffixes):
                    return known
            self._series.append(Series(folder, stem, suffixes))
            return self._series[-1]

    def gallery(self, folder: Path) -> Gallery | None:
        """Return the images of a folder, one gallery however often it is asked for; None if nothing is ever removed."""
        with self._lock:
            if not self._removes:
                return None
            key = folder.resolve()
            if key not in self._galleries:
                self._galleries[key] = Gallery(folder)
            return self._galleries[key]

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
        used = sum(stock.size() for stock in self._stocks)
        if used <= self._quota:
            return
        for stock, oldest in _oldest_first(self._stocks):
            self._remove(stock, oldest, f"recordings have reached their quota of {bytes_as_text(self._quota)}")
            used -= oldest.size
            if used <= self._quota:
                return

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
        there = [stock for stock in self._stocks if stock.folder.exists() and stock.folder.stat().st_dev == device]
        if free + sum(stock.removable() for stock in there) < wanted:
            return free
        for stock, oldest in _oldest_first(there):
            self._remove(stock, oldest, reason)
            free = self._usage(folder)[2]
            if free >= wanted:
                break
        return free

    @property
    def _stocks(self) -> list[Stock]:
        return [*self._series, *self._galleries.values()]

    def _remove(self, stock: Stock, recording: Recording, reason: str) -> None:
        if stock.remove(recording):
            if not self.removed:
                self._say(f"{reason}: from now on the oldest recordings are removed, {recording.paths[0]} first")
            self.removed += 1


def _oldest_first(stocks: Sequence[Stock]) -> Iterator[tuple[Stock, Recording]]:
    """Go through all recordings that may be removed: in each stock in its own order, since a clock may jump."""

    def pairs(stock: Stock) -> Iterator[tuple[Stock, Recording]]:
        return ((stock, one) for one in stock.oldest_first())

    return heapq.merge(*map(pairs, stocks), key=lambda pair: pair[1].modified)
