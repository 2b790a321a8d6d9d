"""Options of ``run`` that collect hard frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ssd_edge.cli.camera_options import PLACE
from ssd_edge.errors import SinkError
from ssd_edge.outputs.catalogue import SINKS, open_sink
from ssd_edge.parsing import parse_bytes, parse_duration

if TYPE_CHECKING:
    from ssd_edge.outputs.collect.settings import CollectSettings
    from ssd_edge.outputs.opening import Opener
    from ssd_edge.outputs.space import Space

CollectFolder = Annotated[Path | None, typer.Option("--collect", metavar="FOLDER", help=SINKS["collect"].about)]
CollectAgainst = Annotated[
    Path | None,
    typer.Option(
        "--collect-against",
        metavar="NAME.engine",
        help="With --collect: a second engine, such as FP32 beside INT8, that looks at some of the frames, which are "
        "collected where the two disagree.",
    ),
]
CollectFrames = Annotated[
    int,
    typer.Option(
        "--collect-frames",
        min=1,
        metavar="N",
        help="Most frames in the folder; then harder ones take the place of easier ones of this run.",
    ),
]
CollectSize = Annotated[
    str, typer.Option("--collect-size", metavar="SIZE", help="Most room for the folder; then as with --collect-frames.")
]
CollectShare = Annotated[
    float,
    typer.Option(
        "--collect-share",
        metavar="PERCENT",
        min=0.01,
        max=100,
        help="Most time that collecting takes, in percent of all time: half for the second engine, half for pictures.",
    ),
]
CollectQuiet = Annotated[
    str,
    typer.Option("--collect-quiet", metavar="TIME", help="Collect a frame after so long without an object."),
]


class Collecting(NamedTuple):
    """What is to be collected, and where; nothing if there is no folder."""

    folder: Path | None
    settings: CollectSettings

    @property
    def targets(self) -> dict[str, str]:
        """The folder, by the output's name."""
        return {} if self.folder is None else {"collect": str(self.folder)}

    def lowest_score(self, thresholds: Sequence[float]) -> float:
        """Return the lowest score that is read of classes that are shown from ``thresholds`` on."""
        from ssd_edge.outputs.collect.settings import lowest_score

        return min(thresholds) if self.folder is None else lowest_score(thresholds)

    def openers(
        self, camera: str, labels: Sequence[str], thresholds: Sequence[float], space: Space, say: Callable[[str], None]
    ) -> dict[str, Opener]:
        """Return what opens the collection of a camera; see ``outputs.opening``.

        Args:
            camera: its name, also for the folder's.
            labels: class names, as in the model's spec.
            thresholds: the score from which on each class is shown.
            space: the room that is left on the disk.
            say: takes a line when the folder is full.
        """
        from ssd_edge.engines.opening import open_model

        settings = replace(self.settings, camera=camera, thresholds=tuple(thresholds), open_engine=open_model)
        about: dict[str, Any] = {"settings": settings, "space": space, "say": say}
        return {
            name: partial(open_sink, name, target.replace(PLACE, camera), labels, None, **about)
            for name, target in self.targets.items()
        }


def read_collecting(
    folder: Path | None, against: Path | None, model: Path, frames: int, size: str, share: float, quiet: str
) -> Collecting:
    """Read the options.

    Raises:
        SinkError: one of them is not what it should be.
    """
    from ssd_edge.outputs.collect.settings import CollectSettings

    if against is not None and folder is None:
        raise SinkError("--collect-against is for --collect FOLDER: name the folder to collect into")
    if against is not None and not against.exists():
        raise SinkError(f"--collect-against: there is no model {against}")
    if against is not None and against.resolve() == model.resolve():
        raise SinkError(
            f"--collect-against {against} is the engine that runs: name another one, such as FP32 beside INT8"
        )
    try:
        settings = CollectSettings(
            frames=frames,
            size=parse_bytes(size),
            share=share / 100,
            quiet=parse_duration(quiet),
            against="" if against is None else str(against),
        )
    except ValueError as error:
        raise SinkError(f"--collect-size, --collect-quiet: {error}") from None
    return Collecting(folder, settings)
