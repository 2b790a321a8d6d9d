"""``ssd-edge run --record``: what is recorded of each camera."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.errors import SinkError

if TYPE_CHECKING:
    from ssd_edge.cli.run_cameras import Wanted
    from ssd_edge.detector import Engine
    from ssd_edge.loop.camera import Camera
    from ssd_edge.outputs.opening import Opener
    from ssd_edge.outputs.rules import Rules
    from ssd_edge.replay.notes import Notes
    from ssd_edge.replay.schema import Identity
    from ssd_edge.stream.frames import Source
    from ssd_edge.tracking.watch_file import WatchReader

Record = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="FOLDER",
        help="Record frames as they arrived and what is detected in them, so that ssd-edge replay can repeat it to the "
        "last bit. Begins a new file each hour, or at 2 GB.",
    ),
]


def check_record(folder: Path | None, several_engines: bool) -> None:
    """Refuse what cannot be recorded.

    Args:
        folder: where to write; None for nowhere.
        several_engines: whether another engine may take over.

    Raises:
        SinkError: there is a file of that name, or the recording would be of more than one engine.
    """
    if folder is not None and several_engines:
        raise SinkError(
            "--record keeps the run of one engine, which --degrade engine may exchange: leave one of them out"
        )
    if folder is not None and folder.exists() and not folder.is_dir():
        raise SinkError(f"--record {folder} is a file: name a folder, which is made if it does not exist")


@dataclass(frozen=True)
class Recordings:
    """The recordings of a run.

    Attributes:
        folder: where they are written.
        engine: what detects.
        labels: class names.
        thresholds: score from which on each class is shown.
        lowest_score: lowest score that the detector gives.
        reader: what is watched; None for nothing.
        rules: how recordings are written.
    """

    folder: Path
    engine: Identity
    labels: Sequence[str]
    thresholds: Sequence[float]
    lowest_score: float
    reader: WatchReader | None
    rules: Rules
    _notes: dict[str, Notes] = field(default_factory=dict)
    _run: str = field(default_factory=lambda: secrets.token_hex(8))
    _began: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="milliseconds"))

    def with_notes(self, camera: Camera) -> Camera:
        """Return a camera that tells its recorder what was found in each frame; what it shows must be final."""
        return replace(camera, shown=self._notes[camera.name].made_by(camera.shown))

    def opener(self, camera: str, source: Source) -> Mapping[str, Opener]:
        """Return what opens the recorder of a camera, by the output's name."""
        from ssd_edge.replay import recorder
        from ssd_edge.replay.notes import Notes
        from ssd_edge.replay.schema import VERSION, Head

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
        return {"record": recorder.opener(self.folder, head, notes, self.rules.limit, self.rules.space)}


def recordings(folder: Path, model: Path, engine: Engine, wanted: Wanted) -> Recordings:
    """Prepare the recordings of a run.

    Args:
        folder: where to write them.
        model: what the user named.
        engine: the model.
        wanted: what is asked of the cameras.

    Raises:
        WatchError: a class that is to be watched is none of the model's.
    """
    from ssd_edge.engines.identity import identity_of
    from ssd_edge.loop.chosen import thresholds_of

    return Recordings(
        folder,
        identity_of(model, engine),
        engine.spec.labels,
        thresholds_of(engine.spec, wanted.min_score),
        wanted.lowest_score(engine.spec),
        None if wanted.page else wanted.reader,  # on the page zones may be drawn anew
        wanted.rules,
    )
