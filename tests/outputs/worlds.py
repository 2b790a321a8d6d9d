"""Outputs that fail, block and come back as a test says, and frames without content."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, sleep

import numpy as np

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.outputs.sink import Sink
from ssd_edge.stream.frames import Frame

NOTHING = Detections.empty()


def blank(index: int, size: tuple[int, int] = (4, 4), position: float | None = None) -> Frame:
    return Frame(np.zeros((*size, 3), np.uint8), index, monotonic(), position)


def until(happened: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is true."""
    limit = monotonic() + seconds
    while not happened():
        assert monotonic() < limit, "it did not happen"
        sleep(0.005)


class Clock:
    """Monotonic seconds that pass as a test says."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Place:
    """Where an output writes: it can be broken, blocked or slow, and keeps what it got, by opening."""

    def __init__(self) -> None:
        self.broken: Exception | None = None
        self.refuses: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.got: list[list[int]] = []
        self.closed = self.attempts = self.idled = 0

    def open(self) -> Sink:
        self.attempts += 1
        if self.refuses is not None:
            raise self.refuses
        return _Writer(self)

    @property
    def all(self) -> list[int]:
        return [index for opening in self.got for index in opening]


class _Writer(Sink):
    def __init__(self, place: Place) -> None:
        self._place = place
        place.got.append([])

    def write(self, frame: Frame, detections: Detections) -> None:
        self._place.free.wait()
        if self._place.broken is not None:
            raise self._place.broken
        self._place.got[-1].append(frame.index)

    def idle(self) -> None:
        self._place.idled += 1

    def close(self) -> None:
        self._place.closed += 1


GONE = SinkError("cannot write out: it is gone")
