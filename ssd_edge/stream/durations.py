"""Durations, of which any number take the same memory, their percentiles, and the rate of events."""

from __future__ import annotations

import math
from collections import deque
from time import monotonic
from typing import NamedTuple

_LOWEST, _GROWTH, _BUCKETS = 1e-6, 1.02, 1050  # 1 µs … 1000 s


class Percentiles(NamedTuple):
    """Seconds that 50, 90 and 99 % of the values do not exceed."""

    p50: float
    p90: float
    p99: float


class Durations:
    """Any number of durations, counted in 1050 buckets, each 2 % wider than the one below.

    Between 1 µs and 1000 s a percentile is therefore accurate to within 1 % of its value, however many values there
    were; values outside this range count as its ends.
    """

    def __init__(self) -> None:
        self.count = 0
        self._buckets = [0] * _BUCKETS

    def add(self, seconds: float) -> None:
        """Count one duration."""
        bucket = int(math.log(max(seconds, _LOWEST) / _LOWEST) / math.log(_GROWTH))
        self._buckets[min(bucket, _BUCKETS - 1)] += 1
        self.count += 1

    def percentile(self, percent: float) -> float:
        """Return the seconds that ``percent`` of the values do not exceed; 0 if there are no values."""
        wanted, seen = math.ceil(self.count * percent / 100), 0
        for bucket, number in enumerate(self._buckets):
            seen += number
            if number and seen >= wanted:
                return float(_LOWEST * _GROWTH ** (bucket + 0.5))
        return 0.0

    def percentiles(self) -> Percentiles:
        """Return p50, p90 and p99, in seconds."""
        return Percentiles(self.percentile(50), self.percentile(90), self.percentile(99))


class Rate:
    """Events per second over the last 60 events; the rate falls by itself when there are no more."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=60)

    def tick(self) -> float:
        """Count one event now, and return the rate, which is 0 at the first event."""
        self._times.append(monotonic())
        return self.value

    @property
    def value(self) -> float:
        """Events per second."""
        span = monotonic() - self._times[0] if len(self._times) > 1 else 0.0
        return (len(self._times) - 1) / span if span > 0 else 0.0
