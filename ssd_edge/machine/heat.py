"""Watch the machine's heat, power and limits during some work, and sum them up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic
from types import TracebackType
from typing import Any

from ssd_edge.machine.limits import Limit
from ssd_edge.machine.readings import Readings, readings

EVERY = 1.0
"""Seconds between two readings."""


@dataclass(frozen=True)
class Heat:
    """What the machine told of its heat and power during some work.

    Attributes:
        first: readings at its begin.
        last: the last readings.
        worst: the hottest sensor at the hottest moment, and its temperature in °C; None without a sensor.
        watts: mean power over the time; None if it is not measured.
        seconds: time between the first and the last readings.
        limited: seconds for which each limit slowed the machine down, those of long duration first.
    """

    first: Readings
    last: Readings
    worst: tuple[str, float] | None
    watts: float | None
    seconds: float
    limited: dict[Limit, float]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {
            "before": self.first.to_json(),
            "after": self.last.to_json(),
            "worst": None if self.worst is None else {"sensor": self.worst[0], "celsius": self.worst[1]},
            "watts": self.watts,
            "seconds": self.seconds,
            "limited": {str(limit): seconds for limit, seconds in self.limited.items()},
        }

    def sentence(self) -> str | None:
        """Say temperature and power in one line; None if the machine tells neither."""
        parts = []
        if self.worst is not None and self.first.hottest and self.last.hottest:
            before, after = self.first.hottest[1], self.last.hottest[1]
            name, celsius = self.worst
            parts.append(f"{before:.0f} °C before, {after:.0f} °C after, at most {celsius:.0f} °C ({name})")
        if self.watts is not None:
            parts.append(f"{self.watts:.1f} W on average")
        if self.last.mode is not None:
            parts.append(f"power mode {self.last.mode}")
        return ", ".join(parts) or None

    def warning(self) -> str | None:
        """Say which limits slowed the machine down, and for how long; None if none did."""
        if not self.limited:
            return None
        limits = ", ".join(f"{limit} for {seconds:.0f} s" for limit, seconds in self.limited.items())
        return f"{limits}, of {self.seconds:.0f} s"


class HeatRecorder:
    """Thread that reads the machine once a second while the block lasts.

    Args:
        read: reads the machine.
        every: seconds between two readings.
        listen: called in that thread with each of the readings.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        read: Callable[[], Readings] = readings,
        every: float = EVERY,
        listen: Callable[[Readings], None] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._read, self._every, self._listen, self._clock = read, every, listen, clock
        self._stop = Event()
        self._thread = Thread(target=self._run, name="heat", daemon=True)
        self._sum = _Sum(read(), clock())

    def __enter__(self) -> HeatRecorder:
        """Begin to read."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Read once more, and end."""
        self._stop.set()
        self._thread.join()
        self._sum.add(self._read(), self._clock())

    @property
    def latest(self) -> Readings:
        """The newest readings."""
        return self._sum.last

    def heat(self) -> Heat:
        """Sum up what was read so far."""
        return self._sum.heat()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            now = self._read()
            self._sum.add(now, self._clock())
            if self._listen is not None:
                self._listen(now)


class _Sum:
    """Adds readings up; each holds for the time since the one before."""

    def __init__(self, first: Readings, now: float) -> None:
        self.first = self.last = first
        self._began = self._at = now
        self._worst = first.hottest
        self._joules = self._measured = 0.0
        self._limited: dict[Limit, float] = dict.fromkeys(first.limits, 0.0)

    def add(self, readings: Readings, now: float) -> None:
        """Take the next readings."""
        span, self._at, self.last = now - self._at, now, readings
        self._worst = max((one for one in (self._worst, readings.hottest) if one), key=lambda one: one[1], default=None)
        if readings.watts is not None:
            self._joules += readings.watts * span
            self._measured += span
        # a copy in place of a change: another thread may be summing up
        more = {limit: self._limited.get(limit, 0.0) + span for limit in readings.limits}
        self._limited = {**self._limited, **more}

    def heat(self) -> Heat:
        """See ``HeatRecorder.heat``."""
        watts = self._joules / self._measured if self._measured > 0 else self.last.watts
        longest = sorted(self._limited.items(), key=lambda item: -item[1])
        return Heat(self.first, self.last, self._worst, watts, self._at - self._began, dict(longest))
