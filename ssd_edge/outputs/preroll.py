"""The last seconds of a camera, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from ssd_edge.pixels import Image

MOST_BYTES = 64 << 20
"""Most bytes of JPEG that are kept of one camera."""

_ROUNDING = 1e-6  # seconds


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame as it is kept.

    Attributes:
        at: its time in seconds, on the clock of its source.
        wall: when it was captured, in seconds of ``time.time``.
        index: its number.
        size: (height, width).
        jpeg: the picture.
    """

    at: float
    wall: float
    index: int
    size: tuple[int, int]
    jpeg: bytes

    def picture(self) -> Image:
        """Decode the picture: (height, width, 3) uint8 BGR."""
        return np.asarray(cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


class Preroll:
    """The frames of the last seconds.

    Args:
        seconds: how far back they go, if they fit into ``MOST_BYTES``.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._shots: deque[Shot] = deque()
        self._bytes = 0

    def __iter__(self) -> Iterator[Shot]:
        return iter(self._shots)

    def continues(self, shot: Shot) -> bool:
        """Tell whether a frame goes on with those before: of their size, and not of an earlier time."""
        return not self._shots or (shot.size == self._shots[-1].size and shot.at >= self._shots[-1].at)

    def add(self, shot: Shot) -> None:
        """Keep a frame, and let go of those that are too old or too many."""
        self._shots.append(shot)
        self._bytes += len(shot.jpeg)
        while len(self._shots) > 1 and (
            shot.at - self._shots[0].at > self._seconds + _ROUNDING or self._bytes > MOST_BYTES
        ):
            self._bytes -= len(self._shots.popleft().jpeg)

    def clear(self) -> None:
        """Let go of all frames."""
        self._shots.clear()
        self._bytes = 0
