"""A second engine that looks at some of the frames, shared by all cameras that name it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from ssd_edge.detections import Detections
from ssd_edge.detector import Engine
from ssd_edge.errors import SinkError, SsdEdgeError
from ssd_edge.outputs.collect.settings import CollectSettings
from ssd_edge.outputs.sharing import Shared
from ssd_edge.parsing import shown
from ssd_edge.pixels import Pixels


class Opponent:
    """The second engine; any thread may call it, one at a time.

    Args:
        engine: closed with this object.
        least: lowest score that is read.
    """

    usable = True

    def __init__(self, engine: Engine, least: float) -> None:
        self._engine, self._detector, self._lock = engine, engine.detector(least), threading.Lock()

    def __call__(self, pixels: Pixels) -> Detections:
        """Detect objects in a frame."""
        with self._lock:
            return self._detector(pixels)

    def close(self) -> None:
        """Close the engine."""
        self._detector.close()
        self._engine.close()


OPPONENTS: Shared[Opponent] = Shared()
"""Those in use."""


def take_opponent(settings: CollectSettings, labels: Sequence[str], least: float) -> Opponent:
    """Return the engine that settings name, opened if nobody uses it; give it back to ``OPPONENTS``.

    Args:
        settings: name the engine, and what opens it.
        labels: the labels that it must have.
        least: lowest score that is read.

    Raises:
        SinkError: it cannot be opened, or has other labels.
    """
    path, open_engine = settings.against, settings.open_engine
    assert open_engine is not None

    def opened() -> Opponent:
        try:
            engine = open_engine(Path(path))
        except SsdEdgeError as error:
            raise SinkError(f"frames cannot be compared with {path}: {error}") from None
        if tuple(engine.spec.labels) != tuple(labels):
            told = shown(list(engine.spec.labels))
            engine.close()
            raise SinkError(
                f"frames cannot be compared with {path}: it detects {told}, and the engine that runs "
                f"{shown(list(labels))}: name one with the same labels in the same order"
            )
        return Opponent(engine, least)

    return OPPONENTS.take((path, tuple(labels), least), opened)
