"""Notice a camera that sends the same picture again and again, or a black one."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from time import monotonic

import numpy as np
import numpy.typing as npt

from ssd_edge.pixels import Pixels, RawFrame

FROZEN_AFTER = 5.0
"""Seconds of frames equal to the last bit after which a source counts as frozen; a sensor's noise makes them differ."""

BLACK_AFTER = 2.0
"""Seconds of black frames after which a source counts as black."""

_GRID = 64  # pixels that are looked at in each frame, across and down
_DARK = 32  # of 255; black is 16 in YUV of limited range, and noise comes on top
_BRIGHT_SHARE = 0.001  # of the bytes that may be brighter in a black frame, such as a clock drawn into it
_AT_LEAST = 3  # frames


class Liveness:
    """Looks at a camera's frames, and says when it freezes or turns black, and when that is over.

    Each frame costs a look at 64×64 pixels; only where these equal those of the frame before, all bytes are compared.

    Args:
        say: takes one line at each change.
        clock: monotonic seconds.

    Attributes:
        frozen: number of frames equal to the one before, while the source counted as frozen.
        black: number of black frames, while the source counted as black.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._sample, self._digest = b"", 0
        self._freeze = _Condition("frozen: its frames are equal to the last bit", FROZEN_AFTER, say)
        self._night = _Condition("black", BLACK_AFTER, say)

    @property
    def frozen(self) -> int:
        """See the class."""
        return self._freeze.frames

    @property
    def black(self) -> int:
        """See the class."""
        return self._night.frames

    def look(self, pixels: Pixels) -> None:
        """Look at the next frame."""
        now, planes = self._clock(), _planes(pixels)
        height, width = planes[0].shape[:2]
        sample = planes[0][:: -(-height // _GRID), :: -(-width // _GRID)]
        # Those of the first plane that tell the brightness: all but the colours of YUYV and the x of BGRx.
        bright = sample[..., ::2] if sample.shape[2] == 4 and _is_yuyv(pixels) else sample[..., :3]
        self._night.update(now, bool((bright > _DARK).mean() <= _BRIGHT_SHARE))
        seen = sample.tobytes()
        equal = seen == self._sample
        # Of frames alike the first has no digest yet, so the third is the first that can be seen to be equal.
        digest = _digest(planes) if equal else 0
        self._freeze.update(now, equal and digest == self._digest)
        self._sample, self._digest = seen, digest


class _Condition:
    """Something that has to last for a while before it is said."""

    def __init__(self, what: str, after: float, say: Callable[[str], None]) -> None:
        self._what, self._after, self._say = what, after, say
        self._since: float | None = None
        self._count, self._said, self.frames = 0, False, 0

    def update(self, now: float, holds: bool) -> None:
        if not holds:
            if self._said:
                self._say(f"no longer {self._what.partition(':')[0]}")
            self._since, self._count, self._said = None, 0, False
            return
        self._since = now if self._since is None else self._since
        self._count += 1
        if not self._said and now - self._since >= self._after and self._count >= _AT_LEAST:
            self._said, self.frames = True, self.frames + self._count - 1
            self._say(self._what)
        self.frames += self._said


def _planes(pixels: Pixels) -> list[npt.NDArray[np.uint8]]:
    """View the planes of a frame, each (rows, columns, bytes)."""
    if not isinstance(pixels, RawFrame):
        return [pixels]
    return [pixels.layout.of_plane(pixels.memory, place) for place in range(len(pixels.layout.offsets))]


def _digest(planes: list[npt.NDArray[np.uint8]]) -> int:
    digest = 0
    for plane in planes:
        digest = zlib.crc32(plane.tobytes(), digest)
    return digest


def _is_yuyv(pixels: Pixels) -> bool:
    return isinstance(pixels, RawFrame) and pixels.layout.pixel_format == "YUYV"
