"""When to try again what failed: the one definition of growing, varied delays, for sources and outputs alike."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_DELAY, LAST_DELAY = 0.2, 1.0
"""Seconds before the first attempt, and the most seconds between two attempts."""

_JITTER = 0.25  # share by which a delay varies, so that many do not knock at the same moment


class BackOff:
    """Delays between attempts: each is twice the one before, up to a limit, and varied by chance.

    Args:
        first: the first delay, in seconds.
        last: the longest.
        chance: gives random numbers from 0 to 1.
    """

    def __init__(
        self, first: float = FIRST_DELAY, last: float = LAST_DELAY, chance: Callable[[], float] = random.random
    ) -> None:
        self._first, self._last, self._chance = first, last, chance
        self._attempts = 0

    def delay(self, spent: float = 0.0) -> float:
        """Return the seconds to wait before the next attempt.

        Args:
            spent: seconds that the attempt took that has failed; they count, but for the first delay.
        """
        varied = 1 + _JITTER * (2 * self._chance() - 1)
        delay = min(self._first * 2.0 ** min(self._attempts, 16) * varied, self._last)
        self._attempts += 1
        return max(delay - spent, min(self._first * varied, self._last)) if spent else delay

    def reset(self) -> None:
        """Begin with the first delay again."""
        self._attempts = 0
