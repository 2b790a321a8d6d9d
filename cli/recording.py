"""``ssd-edge run --record``: what is recorded of each camera."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.errors import SinkError

if TYPE_CHECKING:
    from ssd_edge.cli.run_cameras import Wanted
    from ssd_edge.detector import Engine
    from ssd_edge.replay.recordings import Recordings

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
    from ssd_edge.replay.recorder import pieces_of
    from ssd_edge.replay.recordings import Recordings

    return Recordings(
        identity_of(model, engine),
        engine.spec.labels,
        thresholds_of(engine.spec, wanted.min_score),
        wanted.lowest_score(engine.spec),
        None if wanted.page else wanted.reader,  # on the page zones may be drawn anew
        lambda camera: pieces_of(folder, camera, wanted.rules.limit, wanted.rules.space),
    )
