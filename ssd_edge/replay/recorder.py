"""Record frames as they arrived, with what was found in them, in sections that can each be replayed alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from time import monotonic

from msgspec.structs import replace

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.files import sync_folder, sync_open
from ssd_edge.outputs.limits import Limit
from ssd_edge.outputs.pieces import Pieces
from ssd_edge.outputs.sink import Sink, cannot_write
from ssd_edge.outputs.space import Space
from ssd_edge.outputs.syncing import Syncing
from ssd_edge.replay.bits import found_of, to_bytes
from ssd_edge.replay.container import MAGIC, SUFFIX, packed
from ssd_edge.replay.notes import Notes
from ssd_edge.replay.pictures import Keeper
from ssd_edge.replay.schema import Head, Shot
from ssd_edge.replay.stages import digests
from ssd_edge.stream.frames import Frame
from ssd_edge.tracking.watch import Watched

LIMIT = Limit(2_000_000_000, 3600.0)
"""A section ends after an hour or 2 GB, unless something else is asked for."""


def opener(folder: Path, head: Head, notes: Notes, limit: Limit, space: Space) -> Callable[[], Recorder]:
    """Return what opens the recorder of a camera, again after an error; sections are named after the camera.

    Args:
        folder: where the sections lie, of all cameras; made if it does not exist.
        head: how it is recorded.
        notes: what is known of its frames.
        limit: when a section ends; ``LIMIT`` holds for what it leaves open.
        space: the room that recordings may take.
    """
    limit = Limit(limit.size or LIMIT.size, limit.seconds or LIMIT.seconds)
    pieces = Pieces(folder / f"{head.camera}{SUFFIX}", limit, space=space)
    begun = 0

    def next_head() -> Head:
        nonlocal begun
        begun += 1
        return replace(head, part=begun - 1)

    def opened() -> Recorder:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from None
        return Recorder(pieces, next_head, notes)

    return opened


class Recorder(Sink):
    """Sink that records a camera, see ``container`` for the form.

    Args:
        pieces: its files.
        next_head: gives the head of each section.
        notes: what is known of its frames.

    Raises:
        SinkError: the first section cannot be begun.
    """

    heavy = True
    name = "record"

    def __init__(self, pieces: Pieces, next_head: Callable[[], Head], notes: Notes) -> None:
        self._pieces, self._next_head, self._notes, self._keeper = pieces, next_head, notes, Keeper()
        self._file: FileIO | None = None
        self._begin()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Append a frame."""
        note = self._notes.take(frame)
        ids = to_bytes(detections.ids) if isinstance(detections, Watched) else None
        self._append(
            packed(
                Shot(
                    number=note.number,
                    index=frame.index,
                    captured=frame.captured,
                    position=frame.position,
                    file=frame.file,
                    picture=self._keeper.picture(frame),
                    found=found_of(note.every),
                    ids=ids,
                    digests=digests(frame.pixels, note.every, detections),
                )
            )
        )

    def close(self) -> None:
        """Finish the section; one without a frame is removed."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            with file:
                self._syncing.close()
        except OSError as error:
            raise cannot_write(self.path or "", error) from None
        finally:
            if self._frames:
                self._pieces.end()
            else:
                self._pieces.discard()

    def _begin(self) -> None:
        self._file = file = self._pieces.begin()
        self.path, self._size, self._began, self._frames = self._pieces.path, 0, monotonic(), 0
        folder = self._pieces.path.parent
        self._syncing = Syncing(lambda: _sync(file.fileno(), folder))
        self._put(MAGIC + packed(self._next_head()))

    def _append(self, record: bytes) -> None:
        self._pieces.check()
        if self._pieces.full(self._size, monotonic() - self._began):
            self.close()
            self._begin()
        self._put(record)
        self._frames += 1

    def _put(self, data: bytes) -> None:
        """Write data, whole or not at all."""
        if self._file is None:
            raise SinkError(f"the recording {self.path} is closed")
        rest = memoryview(data)
        try:
            self._syncing.check()
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            raise cannot_write(self.path or "", error) from None
        self._size += len(data)


def _sync(descriptor: int, folder: Path) -> None:
    sync_open(descriptor)
    sync_folder(folder)
