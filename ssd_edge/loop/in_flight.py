"""Frames that the engine works on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from ssd_edge.detector import Detector, Result
from ssd_edge.errors import SsdEdgeError
from ssd_edge.loop.camera import OpenCamera
from ssd_edge.loop.turns import Taken

_SMOOTHING = 0.2


class _Submission(NamedTuple):
    detector: Detector
    batch: Sequence[Taken]
    submitted: float
    finish: Callable[[], list[Result]]


class InFlight:
    """Submissions whose results have not been fetched, oldest first.

    Attributes:
        submissions: number of submissions so far.
    """

    def __init__(self) -> None:
        self.submissions = 0
        self._pending: deque[_Submission] = deque()
        self._typical = 0.0  # smoothed seconds of an inference

    def __len__(self) -> int:
        return len(self._pending)

    def submit(self, detector: Detector, batch: Sequence[Taken]) -> None:
        """Start on frames of one or several cameras.

        Raises:
            BackendError: the engine failed.
        """
        finish = detector.submit_batch([taken.frame.pixels for taken in batch])
        self._pending.append(_Submission(detector, batch, monotonic(), finish))
        self.submissions += 1

    def patience(self) -> float:
        """Seconds until the oldest result is expected: so long it is worth waiting for another frame first."""
        # The 0.9 makes it fetch early: if results were always late, the delay would count as inference time.
        return max(0.0, self._pending[0].submitted + 0.9 * self._typical - monotonic())

    def finish(self) -> list[tuple[Taken, Result]]:
        """Wait for the oldest submission's results.

        Raises:
            BackendError: the engine failed.
        """
        oldest = self._pending.popleft()
        results = oldest.finish()
        self._typical += _SMOOTHING * (monotonic() - oldest.submitted - self._typical)
        return list(zip(oldest.batch, results, strict=True))

    def has_frames_of(self, camera: OpenCamera) -> bool:
        """Whether the engine works on a frame of this camera."""
        return any(taken.camera is camera for one in self._pending for taken in one.batch)

    def uses(self, detector: Detector) -> bool:
        """Whether this detector works on a frame."""
        return any(one.detector is detector for one in self._pending)

    def drain(self) -> None:
        """Wait for all results and forget them: no old requests may be left in an engine that is used again."""
        while self._pending:
            with suppress(SsdEdgeError):
                self._pending.popleft().finish()
