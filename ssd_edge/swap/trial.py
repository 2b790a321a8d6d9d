"""The decisions of a trial: when a candidate takes over, is refused, is kept, or has to go back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal, NamedTuple

from ssd_edge.parsing import bytes_as_text
from ssd_edge.swap.contract import Contract

Action = Literal["take over", "refuse", "keep", "go back"]

ENOUGH = 30
"""Compared frames, or frames of the loop, from which on a share counts."""

_TIMES = 100  # so many last times count


class Compared(NamedTuple):
    """One frame that both engines have seen.

    Attributes:
        unmatched: detections of either engine that the other does not have.
        total: detections of both.
        seconds, other: the candidate's and the old engine's time for it; None where they were not measured alike.
        resident: bytes of memory of the candidate's process; 0 if unknown.
    """

    unmatched: int
    total: int
    seconds: float | None
    other: float | None
    resident: int


class Frames(NamedTuple):
    """Frames of all cameras since the loop began: left out for their age, and processed."""

    late: int
    processed: int


class Step(NamedTuple):
    """What is to be done now, and why."""

    action: Action
    why: str


@dataclass
class _Phase:
    began: float
    before: Frames
    wanted: int  # so many times are measured before they count
    compared: int = 0
    unmatched: int = 0
    total: int = 0
    warm: int = 0  # least resident bytes around the time at which it counts as warmed up
    resident: int = 0
    times: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_TIMES))

    @property
    def disagreement(self) -> float:
        return self.unmatched / self.total if self.total else 0.0

    @property
    def slower(self) -> float | None:
        """How many times the old engine's time the candidate takes; None while too few were measured."""
        return None if len(self.times) < self.wanted else _ratio(list(self.times))

    @property
    def surely_slower(self) -> float:
        """The least of these times in all pairs and in either half of them; 0 while too few were measured.

        Each new pair is a new look at the limit: what only a burst of other work makes slow must not break it.
        """
        times, half = list(self.times), len(self.times) // 2
        if len(times) < self.wanted:
            return 0.0
        return min(_ratio(part) for part in (times, times[:half], times[half:]) if part)

    @property
    def growth(self) -> int:
        return max(0, self.resident - self.warm) if self.warm else 0


class Trial:
    """Judge of a candidate; one thread at a time may use it. It works nothing itself.

    Args:
        contract: the limits.
        frames: frames of the loop so far.
        clock: monotonic seconds.

    Attributes:
        phase: ``shadow``, ``probation`` after the take-over, or ``over``.
    """

    def __init__(self, contract: Contract, frames: Frames, clock: Callable[[], float] = monotonic) -> None:
        self._contract, self._clock = contract, clock
        self._usual = _late_share(Frames(0, 0), frames)
        self.phase: Literal["shadow", "probation", "over"] = "shadow"
        self._now = _Phase(clock(), frames, min(_TIMES, contract.frames))
        self._failure = ""

    def compare(self, compared: Compared) -> None:
        """Count a frame that both have seen."""
        now = self._now
        now.compared += 1
        now.unmatched, now.total = now.unmatched + compared.unmatched, now.total + compared.total
        if compared.seconds is not None and compared.other is not None:
            now.times.append((compared.seconds, compared.other))
        now.resident = compared.resident
        if now.compared == ENOUGH:
            now.warm = compared.resident

    def fail(self, why: str) -> None:
        """Note that the candidate failed; the first reason counts."""
        self._failure = self._failure or why

    def look(self, frames: Frames) -> Step | None:
        """Decide on what has been seen so far; None if nothing is to be done yet.

        Args:
            frames: frames of the loop so far.
        """
        if self.phase == "over":
            return None
        broken = self._failure or self._broken(frames)
        if broken:
            action: Action = "refuse" if self.phase == "shadow" else "go back"
            self.phase = "over"
            return Step(action, broken)
        if self.phase == "shadow":
            return self._look_at_shadow(frames)
        if self._lasted(self._contract.probation_seconds) and self._processed(frames) >= self._probation_frames:
            self.phase = "over"
            return Step("keep", f"{self._processed(frames)} frames of its own; {self.sentence()}")
        return None

    def sentence(self) -> str:
        """Say what has been seen in this phase."""
        now = self._now
        told = (
            f"{now.compared} frames compared, {now.unmatched} of {now.total} detections without a match "
            f"({100 * now.disagreement:.1f} %)"
        )
        return told if now.slower is None else f"{told}, {now.slower:.2f} times the time of the old engine"

    @property
    def _probation_frames(self) -> int:
        return self._contract.probation_frames

    def _look_at_shadow(self, frames: Frames) -> Step | None:
        now, contract = self._now, self._contract
        enough = now.compared >= contract.frames and now.total >= contract.detections
        is_slow = now.slower is not None and now.slower > contract.slower
        if enough and not is_slow and self._lasted(contract.seconds):
            why = self.sentence()
            self.phase, self._now = "probation", _Phase(self._clock(), frames, now.wanted)
            return Step("take over", why)
        if self._lasted(contract.patience):
            self.phase = "over"
            if enough and is_slow:
                return Step("refuse", f"after {contract.patience:.0f} s, {self._slow(now.slower or 0.0)}")
            return Step(
                "refuse",
                f"in {contract.patience:.0f} s, {now.compared} of {contract.frames} frames and {now.total} of "
                f"{contract.detections} detections could be compared",
            )
        return None

    def _broken(self, frames: Frames) -> str:
        """Say which limit is broken; empty if none is."""
        now, contract = self._now, self._contract
        if now.compared >= min(ENOUGH, contract.frames) and now.disagreement > contract.disagreement:
            return f"{self.sentence()}; at most {100 * contract.disagreement:g} % are allowed"
        if now.surely_slower > contract.slower:
            return self._slow(now.surely_slower)
        if now.growth > contract.growth:
            grown, allowed = bytes_as_text(now.growth), bytes_as_text(contract.growth)
            return f"its memory grew by {grown}; at most {allowed} are allowed"
        if self._processed(frames) + frames.late - now.before.late >= ENOUGH:
            late = _late_share(now.before, frames)
            if late > self._usual + contract.late:
                return f"{100 * late:.1f} % of the frames became too old, {100 * self._usual:.1f} % before"
        return ""

    def _slow(self, times: float) -> str:
        return f"a frame takes {times:.2f} times as long as before; at most {self._contract.slower:g} are allowed"

    def _processed(self, frames: Frames) -> int:
        return frames.processed - self._now.before.processed

    def _lasted(self, seconds: float) -> bool:
        return self._clock() - self._now.began >= seconds


def _ratio(times: list[tuple[float, float]]) -> float:
    """Return how many times the old engine's time the candidate takes; 0 if the old one's cannot be measured."""
    old = _quick([other for _, other in times])
    return _quick([own for own, _ in times]) / old if old > 0 else 0.0


def _quick(times: list[float]) -> float:
    """Return the time that a tenth of the frames keep to: what else a machine does only makes frames slower."""
    return sorted(times)[len(times) // 10]


def _late_share(before: Frames, now: Frames) -> float:
    late, processed = now.late - before.late, now.processed - before.processed
    return late / (late + processed) if late + processed else 0.0
