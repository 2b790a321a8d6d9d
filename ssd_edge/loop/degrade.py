"""Decide how far the loop does less while the machine is slowed down, or frames come too late, and when it is over.

A ladder of steps: each does less than the one before. One step down at a time while there is trouble, one up at a time
when there was none for long; both take a while, so that the loop never swings faster than these times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MOST_SKIPPED = 3
"""At least every third frame is processed."""


class Step(NamedTuple):
    """How much the loop does.

    Attributes:
        one_in: one frame of so many is processed.
        smaller: whether the smaller engine takes them.
    """

    one_in: int = 1
    smaller: bool = False

    def __str__(self) -> str:
        frames = "every frame" if self.one_in == 1 else f"one frame of {self.one_in}"
        return f"{frames}, by the smaller engine" if self.smaller else frames


FULL = Step()


def ladder(has_smaller: bool) -> tuple[Step, ...]:
    """List the steps, that of full work first: fewer frames, and then, if there is one, the smaller engine."""
    fewer = tuple(Step(one_in) for one_in in range(1, MOST_SKIPPED + 1))
    return (*fewer, Step(MOST_SKIPPED, smaller=True)) if has_smaller else fewer


@dataclass(frozen=True)
class Patience:
    """How long something has to last before a step is taken, in seconds.

    Attributes:
        down: how long there has to be trouble, and how long each step down gets to help.
        up: how long there has to be none, and how long each step up has to go well.
        most: what ``up`` grows to, doubled each time that a step up brought the trouble back.
        gap: pauses in trouble that are shorter are part of it, since limits come and go by the second.
    """

    down: float = 5.0
    up: float = 30.0
    most: float = 600.0
    gap: float = 3.0


class Change(NamedTuple):
    """A step that was taken, and why."""

    step: Step
    why: str

    def __str__(self) -> str:
        return f"{self.why}: from now on {self.step}"


class Policy:
    """The state: the present step, and since when there is trouble or none.

    Args:
        steps: see ``ladder``.
        patience: how long something has to last before a step is taken.
    """

    def __init__(self, steps: Sequence[Step], patience: Patience = Patience()) -> None:
        self._steps, self._patience = steps, patience
        self._place, self._up = 0, patience.up
        self._began = self._last = float("-inf")  # of the present or last trouble
        self._changed, self._rose = float("-inf"), float("-inf")

    @property
    def step(self) -> Step:
        """The present step."""
        return self._steps[self._place]

    def update(self, now: float, trouble: str | None) -> Change | None:
        """Take what is known at a time, and return the step taken, if one is.

        Args:
            now: time in seconds, which never goes back.
            trouble: what is wrong, in a few words; None if nothing is.
        """
        if trouble is not None:
            if now - self._last > self._patience.gap:
                self._began = now
            self._last = now
            return self._down(now, trouble)
        return self._rise(now)

    def _down(self, now: float, trouble: str) -> Change | None:
        lasts = now - max(self._began, self._changed)
        if lasts < self._patience.down or self._place + 1 == len(self._steps):
            return None
        if now - self._rose < 2 * self._up:  # the last step up was too early
            self._up = min(2 * self._up, self._patience.most)
        self._place, self._changed = self._place + 1, now
        return Change(self.step, f"{trouble} for {now - self._began:.0f} s")

    def _rise(self, now: float) -> Change | None:
        calm = now - max(self._last, self._changed)
        if calm < self._up:
            return None
        if self._place == 0:
            self._up = self._patience.up  # all has been well for long
            return None
        self._place, self._changed, self._rose = self._place - 1, now, now
        return Change(self.step, f"that is over for {now - self._last:.0f} s")
