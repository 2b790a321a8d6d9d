"""Open the outputs of a service's cameras; their files outlive a camera that is opened anew."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ssd_edge.engines.opening import open_model
from ssd_edge.outputs.catalogue import open_sink
from ssd_edge.outputs.collect.settings import CollectSettings
from ssd_edge.outputs.limits import Limit
from ssd_edge.outputs.opening import Opener
from ssd_edge.outputs.pieces import Pieces
from ssd_edge.outputs.rules import Rules, pieces_within
from ssd_edge.outputs.space import Space
from ssd_edge.replay.recorder import pieces_of
from ssd_edge.replay.recordings import Recordings
from ssd_edge.replay.schema import Identity
from ssd_edge.service.config import DiskConfig, OutputConfig
from ssd_edge.service.log import Log
from ssd_edge.service.output_forms import FILES, FOLDERS
from ssd_edge.tracking.watch_file import WatchReader

USUAL = Limit(seconds=3600)
"""When a recording begins a new file where the service's file does not say it. Only then nothing is overwritten by a
service that is started again."""


class Asked(NamedTuple):
    """What a camera asks of the engine; see ``replay.recordings.Recordings``."""

    labels: Sequence[str]
    thresholds: Sequence[float]
    lowest_score: float
    reader: WatchReader | None


class Openers:
    """Gives each output what opens it; the same again to an output that has not changed, so that it writes on.

    Args:
        disk: the room that all recordings together may take.
        log: takes lines.
    """

    def __init__(self, disk: DiskConfig, log: Log) -> None:
        self._disk, self._log = disk, log
        self._space = Space(disk.quota, disk.free, log.note("output", "warning"))
        self._recorded: dict[tuple[Path, str, Limit], Pieces] = {}
        self._known: list[tuple[OutputConfig, tuple[object, ...], Opener]] = []

    def opener(
        self,
        output: OutputConfig,
        camera: str,
        labels: Sequence[str],
        fps: float | None,
        thresholds: Sequence[float] = (),
    ) -> Opener:
        """Return what opens an output.

        Args:
            output: the output.
            camera: its camera's name.
            labels: class names, as in the model's spec.
            fps: frame rate of the source; None if it is not known.
            thresholds: the score from which on each class is shown.

        Raises:
            SinkError: its files would be too large for the quota.
        """
        used = (camera, tuple(labels), fps, tuple(thresholds))
        for known, before, opener in self._known:
            if (known, before) == (output, used):
                return opener
        made = self._collection if output.kind == "collect" else self._made
        opener = made(output, *used)
        self._known.append((output, used, opener))
        return opener

    def recordings(self, output: OutputConfig, engine: Identity, asked: Asked) -> Recordings:
        """Return how a camera's frames are recorded as they arrive, from now until it is closed.

        Args:
            output: the output ``record``.
            engine: the engine that detects.
            asked: what was asked of it.

        Raises:
            SinkError: its files would be too large for the quota.
        """
        settings = output.settings
        limit = pieces_within(self._disk.quota, Limit(settings.get("rotate_size"), settings.get("rotate_every")))

        def pieces(camera: str) -> Pieces:
            key = Path(output.target), camera, limit
            if key not in self._recorded:
                self._recorded[key] = pieces_of(*key, self._space)
            return self._recorded[key]

        return Recordings(engine, asked.labels, asked.thresholds, asked.lowest_score, asked.reader, pieces)

    def _collection(
        self, output: OutputConfig, camera: str, labels: Sequence[str], fps: float | None, thresholds: Sequence[float]
    ) -> Opener:
        asked = output.settings
        settings = CollectSettings(
            frames=asked.get("frames", CollectSettings.frames),
            size=asked.get("size", CollectSettings.size),
            share=asked["share"] / 100 if "share" in asked else CollectSettings.share,
            quiet=asked.get("quiet", CollectSettings.quiet),
            gap=asked.get("gap", CollectSettings.gap),
            against=asked.get("against") or "",
            open_engine=open_model,
            camera=camera,
            thresholds=tuple(thresholds),
        )
        about: dict[str, Any] = {
            "settings": settings,
            "space": self._space,
            "say": self._log.note("output", "warning", camera),
        }
        return partial(open_sink, "collect", output.target, labels, fps, **about)

    def _made(
        self, output: OutputConfig, camera: str, labels: Sequence[str], fps: float | None, _: Sequence[float]
    ) -> Opener:
        asked = output.settings
        if output.kind not in (*FILES, *FOLDERS):
            told = {"say": self._log.note("output", camera=camera)} if output.kind == "rtsp" else {}
            return partial(open_sink, output.kind, output.target, labels, fps, camera=camera, **asked, **told)
        limit = Limit(asked.get("rotate_size"), asked.get("rotate_every")) or USUAL
        rules = Rules(
            pieces_within(self._disk.quota, limit),
            asked.get("before", Rules.before),
            asked.get("after", Rules.after),
            self._space,
        )
        return rules.openers({output.kind: output.target}, labels, fps, camera)[output.kind]
