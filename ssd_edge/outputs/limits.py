"""When a piece of a recording ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limit:
    """When a piece of a recording ends, and the next begins; None for never.

    Attributes:
        size: bytes.
        seconds: seconds of recording.
    """

    size: int | None = None
    seconds: float | None = None

    def reached(self, size: int, seconds: float) -> bool:
        """Tell whether a piece of ``size`` bytes and ``seconds`` is at its end."""
        return (self.size is not None and size >= self.size) or (self.seconds is not None and seconds >= self.seconds)

    def within(self, other: Limit) -> Limit:
        """Return the stricter of two limits."""
        return Limit(_lower(self.size, other.size), _lower(self.seconds, other.seconds))

    def __bool__(self) -> bool:
        """Whether there is a limit at all."""
        return self.size is not None or self.seconds is not None


def _lower(one: float | None, other: float | None) -> Any:
    return min((value for value in (one, other) if value is not None), default=None)


NO_LIMIT = Limit()
