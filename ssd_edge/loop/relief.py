"""Relieve a machine that is slowed down or too slow: fewer frames, then a smaller engine, and back, as a policy says.

relief = Relief(loop, Policy(ladder(has_smaller=True)), smaller)
with HeatRecorder(listen=relief.heed):
    loop.run()
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from ssd_edge.detector import Detector
from ssd_edge.loop.degrade import Change, Policy
from ssd_edge.loop.run import CameraLoop
from ssd_edge.machine.readings import Readings

TOO_MANY_LATE = 0.1
"""Share of a second's frames above which the age limit counts as missed."""

_REMEMBERED = 100


class _Counts(NamedTuple):
    """Frames of all cameras that were left out for their age, and that were processed, since the loop began."""

    too_old: int
    processed: int


class Relief:
    """Carries a policy out on a loop.

    Args:
        loop: the loop.
        policy: says how much the loop does.
        smaller: a detector of the same labels that needs less work; None if the policy never asks for it.
        say: takes one line about each step.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        loop: CameraLoop,
        policy: Policy,
        smaller: Detector | None = None,
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._loop, self._policy, self._say, self._clock = loop, policy, say, clock
        self._smaller, self._full = smaller, loop.detector
        self._began, self._counts = clock(), _Counts(0, 0)
        self._changes: deque[tuple[float, Change]] = deque(maxlen=_REMEMBERED)
        self._number = 0
        self._lock = Lock()  # of the detectors, which ``renew`` may change while a step is taken

    def heed(self, readings: Readings) -> None:
        """Take new readings, and do less or more if it is time; to be called once a second, always by one thread."""
        now = self._clock()
        change = self._policy.update(now, self._trouble(readings))
        if change is None:
            return
        self._number += 1
        self._changes.append((now - self._began, change))
        self._say(str(change))
        self._loop.keep_one_in(change.step.one_in)
        with self._lock:
            if self._smaller is None:
                return
            if change.step.smaller:
                self._full = self._loop.detector
                self._loop.exchange(self._smaller)
            elif self._loop.detector is self._smaller:
                self._loop.exchange(self._full)

    def renew(self, full: Detector, smaller: Detector | None, when_idle: Callable[[Detector], None]) -> None:
        """Have other detectors take over from both, at the step that the loop is at.

        Args:
            full, smaller: the new ones; a smaller one if there was one.
            when_idle: called once the detector that works now has no more work; the other one has none.

        Raises:
            ModelError: the labels differ.
        """
        with self._lock:
            takes_smaller = self._smaller is not None and self._loop.detector is self._smaller
            self._loop.exchange(smaller if takes_smaller and smaller is not None else full, when_idle)
            self._full, self._smaller = full, smaller

    def renew_full(self, full: Detector, when_idle: Callable[[Detector], None]) -> None:
        """Have another detector take over from the full one alone; see ``renew``.

        ``when_idle`` is called at once if the smaller one works now.
        """
        with self._lock:
            replaced, self._full = self._full, full
            if self._smaller is None or self._loop.detector is not self._smaller:
                self._loop.exchange(full, when_idle)
                return
        when_idle(replaced)

    @property
    def one_in(self) -> int:
        """One frame of so many is processed now."""
        return self._policy.step.one_in

    def to_json(self) -> dict[str, Any]:
        """Convert what was done to plain values for ``json.dumps``: the last hundred steps, with seconds."""
        changes = [(seconds, *change) for seconds, change in list(self._changes)]
        return {
            "step": str(self._policy.step),
            "number": self._number,
            "changes": [{"seconds": seconds, "step": str(step), "why": why} for seconds, step, why in changes],
        }

    def _trouble(self, readings: Readings) -> str | None:
        before, self._counts = self._counts, self._counted()
        late = self._counts.too_old - before.too_old
        frames = late + self._counts.processed - before.processed
        if readings.troubles:
            return ", ".join(map(str, readings.troubles))
        if late > TOO_MANY_LATE * frames:
            return f"frames too old ({late} of {frames})"
        return None

    def _counted(self) -> _Counts:
        reports = self._loop.report().cameras.values()
        too_old = sum(report.ledger.get("too_old", 0) for report in reports)
        return _Counts(too_old, sum(report.processed for report in reports))
