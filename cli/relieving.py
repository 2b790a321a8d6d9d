"""What ``ssd-edge run`` does about heat and power: it watches the machine, may do less, and tells of both."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ssd_edge.cli.camera_options import Degrade

if TYPE_CHECKING:
    from ssd_edge.detector import Detector, Engine
    from ssd_edge.loop.camera import Camera
    from ssd_edge.loop.run import CameraLoop
    from ssd_edge.progress import Note
    from ssd_edge.service.log import Log


@dataclass(frozen=True)
class Relieving:
    """What may be lost while the machine is slowed down, or frames come too late.

    Attributes:
        degrade: what.
        fallback: the smaller engine that the user named.

    Raises:
        typer.BadParameter: the two do not fit together.
    """

    degrade: Degrade
    fallback: Path | None

    def __post_init__(self) -> None:
        if self.fallback is not None and self.degrade is not Degrade.ENGINE:
            raise typer.BadParameter("--fallback is the engine of --degrade engine: give both, or neither")

    def smaller(self, model: Path, engine: Engine, score: float, opened: ExitStack, note: Note) -> Detector | None:
        """Open the engine that takes over, if one is wanted; ``opened`` will close it.

        Raises:
            SsdEdgeError: there is none, it cannot be opened, or it has other labels.
        """
        from ssd_edge.engines.opening import open_smaller

        if self.degrade is not Degrade.ENGINE:
            return None
        return opened.enter_context(open_smaller(model, engine, self.fallback, note)).detector(score)

    def may_lose_frames(self, cameras: Sequence[Camera]) -> bool:
        """Whether there is a live camera of which not every frame is wanted."""
        loses = any(camera.source.live and camera.buffer.dropped_as for camera in cameras)
        return loses and self.degrade is not Degrade.OFF


class Watched:
    """The machine while a loop runs, and what the loop does less.

    Args:
        loop: the loop.
        smaller: the detector that takes over at last; None if none may.
        may_skip: whether frames may be left out.
        log: takes a line about each step.
    """

    def __init__(self, loop: CameraLoop, smaller: Detector | None, may_skip: bool, log: Log) -> None:
        from ssd_edge.loop.degrade import Policy, ladder
        from ssd_edge.loop.relief import Relief
        from ssd_edge.machine.heat import HeatRecorder

        self._log = log
        policy, say = Policy(ladder(smaller is not None)), log.note("machine", "warning")
        self._relief = Relief(loop, policy, smaller, say) if may_skip else None
        self.recorder = HeatRecorder(listen=self._relief.heed if self._relief else None)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {
            "heat": self.recorder.heat().to_json(),
            "degraded": self._relief.to_json() if self._relief else None,
        }

    def say_end(self) -> None:
        """Say temperature and power, and what slowed the machine down."""
        heat = self.recorder.heat()
        if temperature := heat.sentence():
            self._log.line(temperature, "machine")
        if limits := heat.warning():
            self._log.line(limits, "machine", "warning")
