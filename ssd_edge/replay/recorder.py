"""Record frames as they arrived, with what was found in them, in sections that can each be replayed alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.outputs.growing import GrowingFile
from ssd_edge.outputs.limits import Limit
from ssd_edge.outputs.pieces import Pieces
from ssd_edge.outputs.sink import Sink, cannot_write
from ssd_edge.outputs.space import Space
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


def pieces_of(folder: Path, camera: str, limit: Limit, space: Space) -> Pieces:
    """Return the files of a camera's recording, which are named after it.

    Args:
        folder: where they lie, of all cameras.
        camera: its name.
        limit: when a section ends; ``LIMIT`` holds for what it leaves open.
        space: the room that recordings may take.
    """
    limit = Limit(limit.size or LIMIT.size, limit.seconds or LIMIT.seconds)
    return Pieces(folder / f"{camera}{SUFFIX}", limit, space=space)


def opener(pieces: Pieces, head: Head, notes: Notes) -> Callable[[], Recorder]:
    """Return what opens the recorder of a camera, again after an error.

    Args:
        pieces: its files; their folder is made if it does not exist.
        head: how it is recorded.
        notes: what is known of its frames.
    """
    folder, begun = pieces.path.parent, 0

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
        self._file: GrowingFile | None = None
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
            file.close()
        finally:
            if self._frames:
                self._pieces.end()
            else:
                self._pieces.discard()

    def _begin(self) -> None:
        self._file, self._frames = GrowingFile(self._pieces.begin(), self._pieces.path), 0
        self.path = self._file.path
        self._file.append(MAGIC + packed(self._next_head()))

    def _append(self, record: bytes) -> None:
        self._pieces.check()
        if self._file is not None and self._pieces.full(self._file.size, self._file.seconds):
            self.close()
            self._begin()
        if self._file is None:
            raise SinkError(f"the recording {self.path} is closed")
        self._file.append(record)
        self._frames += 1
