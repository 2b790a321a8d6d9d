"""Keep work to a share of all time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

_SAVED = 1.0  # most seconds that are saved up: what was not used all night must not be spent at once


class Budget:
    """Allows work as long as it took no more than a share of the time until now; one piece may exceed it.

    Args:
        share: the share, 0 … 1.
        clock: monotonic seconds.
    """

    def __init__(self, share: float, clock: Callable[[], float] = monotonic) -> None:
        self._share, self._clock = share, clock
        self._left, self._looked = 0.0, clock()

    @property
    def allows(self) -> bool:
        """Whether work may begin now."""
        now = self._clock()
        self._left = min(self._left + self._share * (now - self._looked), _SAVED)
        self._looked = now
        return self._left >= 0

    @contextmanager
    def spend(self) -> Iterator[None]:
        """Count the time of the block as work, also if it fails."""
        began = self._clock()
        try:
            yield
        finally:
            self._left -= self._clock() - began
