"""Durations, of which any number take the same memory, their percentiles, and the rate of events."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from time import monotonic
from typing import NamedTuple

_LOWEST, _GROWTH, _BUCKETS = 1e-6, 1.02, 1050  # 1 µs … 1000 s
_LOG_GROWTH = math.log(_GROWTH)


class Percentiles(NamedTuple):
    """Seconds that 50, 90 and 99 % of the values do not exceed."""

    p50: float
    p90: float
    p99: float


class Durations:
    """Any number of durations, counted in 1050 buckets, each 2 % wider than the one below.

    Between 1 µs and 1000 s a percentile is therefore accurate to within 1 % of its value, however many values there
    were; values outside this range count as its ends.

    Attributes:
        count: number of durations.
        total: their sum, in seconds.
    """

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0
        self._buckets = [0] * _BUCKETS

    def add(self, seconds: float) -> None:
        """Count one duration."""
        bucket = int(math.log(max(seconds, _LOWEST) / _LOWEST) / _LOG_GROWTH)
        self._buckets[min(bucket, _BUCKETS - 1)] += 1
        self.count, self.total = self.count + 1, self.total + seconds

    def at_most(self, bounds: Sequence[float]) -> list[int]:
        """Count the values that do not exceed each of some seconds, ascending; those within 2 % of one may count."""
        counts, seen, buckets = [], 0, enumerate(self._buckets)
        bucket, number = next(buckets)
        for bound in bounds:
            while bucket < _BUCKETS - 1 and _LOWEST * _GROWTH**bucket < bound:
                seen += number
                bucket, number = next(buckets)
            counts.append(seen)
        return counts

    def percentile(self, percent: float) -> float:
        """Return the seconds that ``percent`` of the values do not exceed; 0 if there are no values."""
        return self._percentiles(percent)[0]

    def percentiles(self) -> Percentiles:
        """Return p50, p90 and p99, in seconds."""
        return Percentiles(*self._percentiles(50, 90, 99))

    def _percentiles(self, *percents: float) -> list[float]:
        seen = list(accumulate(self._buckets))  # in one go, since a running loop reports every second
        if not seen[-1]:
            return [0.0] * len(percents)
        places = (bisect_left(seen, max(1, math.ceil(seen[-1] * percent / 100))) for percent in percents)
        return [float(_LOWEST * _GROWTH ** (bucket + 0.5)) for bucket in places]


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
