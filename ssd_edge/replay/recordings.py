"""How the cameras of a run are recorded: what opens their recorders, and what these have to know of each frame."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ssd_edge.loop.camera import Camera
from ssd_edge.outputs.pieces import Pieces
from ssd_edge.replay import recorder
from ssd_edge.replay.notes import Notes
from ssd_edge.replay.schema import VERSION, Head, Identity
from ssd_edge.stream.frames import Source
from ssd_edge.tracking.watch_file import WatchReader

if TYPE_CHECKING:
    from ssd_edge.outputs.opening import Opener


@dataclass(frozen=True)
class Recordings:
    """The recordings of one run of one engine, of all its cameras; a camera that is opened again begins another run.

    Attributes:
        engine: what detects.
        labels: class names.
        thresholds: score from which on each class is shown.
        lowest_score: lowest score that the detector gives.
        reader: what is watched; None for nothing, or if it may change while the run goes on.
        pieces: gives the files of a camera, by its name; see ``recorder.pieces_of``.
    """

    engine: Identity
    labels: Sequence[str]
    thresholds: Sequence[float]
    lowest_score: float
    reader: WatchReader | None
    pieces: Callable[[str], Pieces]
    _notes: dict[str, Notes] = field(default_factory=dict)
    _run: str = field(default_factory=lambda: secrets.token_hex(8))
    _began: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="milliseconds"))

    def with_notes(self, camera: Camera) -> Camera:
        """Return a camera that tells its recorder what was found in each frame; what it shows must be final."""
        return replace(camera, shown=self._notes[camera.name].made_by(camera.shown))

    def opener(self, camera: str, source: Source) -> Mapping[str, Opener]:
        """Return what opens the recorder of a camera, by the output's name."""
        head = Head(
            version=VERSION,
            run=self._run,
            part=0,
            camera=camera,
            source=source.name,
            fps=source.fps,
            began=self._began,
            engine=self.engine,
            labels=list(self.labels),
            thresholds=list(self.thresholds),
            lowest_score=self.lowest_score,
            watch=None if self.reader is None else dict(self.reader.content),
        )
        notes = self._notes.setdefault(camera, Notes())
        return {"record": recorder.opener(self.pieces(camera), head, notes)}
