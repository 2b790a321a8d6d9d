"""What happened to an isolated output: counted, and told in one line where it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ssd_edge.outputs.carried import Carried
from ssd_edge.outputs.sink import OutputReport
from ssd_edge.stream.durations import Durations
from ssd_edge.stream.frames import Frame

_STEADY = 1.0  # seconds of writing after which an outage is over; less is part of it
_KEEPS_UP = 10.0  # seconds without a frame dropped after which an output counts as fast enough again


class Journal:
    """What happened to an output: counted, and told where it changed.

    Args:
        name: the output's name for people.
        say: takes the lines.
        clock: monotonic seconds.
        carried: counts its events.
    """

    def __init__(self, name: str, say: Callable[[str], None], clock: Callable[[], float], carried: Carried) -> None:
        self._name, self._tell, self._clock, self._carried = name, say, clock, carried
        self._said_lost = 0  # events lost whose number was told
        self._saying_lost = False  # whether it was told that some are being lost
        self._written = self.reopened = 0
        self._dropped: Counter[str] = Counter()
        self._age = Durations()
        self._last_error = ""
        self._outage: _Outage | None = None
        self._slow_since: float | None = None  # the last frame dropped for it
        self._slow_before = 0

    @property
    def slow(self) -> bool:
        """Whether frames are being dropped since the output does not keep up."""
        return self._slow_since is not None

    def report(self, state: str, queued: int) -> OutputReport:
        """See ``OutputReport``."""
        return OutputReport(
            self._name,
            state,
            self._written,
            dict(self._dropped),
            self.reopened,
            self._last_error,
            queued,
            self._age.percentiles(),
            self._carried.told,
            self._carried.lost,
        )

    def dropped(self, reason: str) -> None:
        """Count a frame; the first one of a time in which the output is too slow is told."""
        self._dropped[reason] += 1
        if reason == "slow":
            if self._slow_since is None:
                self._slow_before = self._dropped["slow"] - 1
                self._say("does not keep up; frames are dropped")
            self._slow_since = self._clock()

    def look_for_lost_events(self) -> None:
        """Tell that events are being lost, once until their number is told."""
        if self._carried.lost > self._said_lost and not self._saying_lost:
            self._saying_lost = True
            self._say("events are lost too: too many wait, or they were refused again and again")

    def wrote(self, frame: Frame) -> bool:
        """Count a frame; return whether this ends an outage."""
        now = self._clock()
        self._written += 1
        self._age.add(now - frame.captured)
        if self._slow_since is not None and now - self._slow_since >= _KEEPS_UP:
            self._slow_since = None
            self._say(f"keeps up again, {_frames(self._dropped['slow'] - self._slow_before)} dropped{self._events()}")
        if self._outage is None:
            return False
        if self._outage.over is None:
            self._outage.over, self._outage.lost = now, self._dropped["failed"] - self._outage.before
        if now - self._outage.over < _STEADY:
            return False
        self._tell_end(self._outage)
        return True

    def failed(self, sentence: str, delay: float) -> None:
        """Note an error; the first of an outage is told, and each that differs from the one before."""
        if self._outage is None:
            self._outage = _Outage(self._clock(), max(0, self._dropped["failed"]))
        self._outage.over, self._slow_since = None, None
        if sentence != self._outage.told:
            self._outage.told = sentence
            self._say(f"{sentence}; trying again in {delay:.1f} s")
        self._last_error = sentence

    def ended(self) -> None:
        """Tell of an outage that the end of the run cut short, and of events that nothing told."""
        if self._outage is not None and self._outage.over is not None:
            self._tell_end(self._outage)
        elif self._outage is not None:
            lost = self._dropped["failed"] - self._outage.before
            self._say(f"could not be written until the end, {_frames(lost)} dropped{self._events()}")
        if self._carried.lost > self._said_lost:
            self._say(f"has ended{self._events()}")

    def late(self, lost: int, seconds: float) -> None:
        """Note that the output did not end in time."""
        self._dropped["late"] += lost
        self._say(f"did not end within {seconds:.0f} s, {_frames(lost)} lost{self._events()}")

    def lost_end(self, sentence: str) -> None:
        """Note that the end could not be written."""
        self._last_error = sentence
        self._say(sentence)

    def _tell_end(self, outage: _Outage) -> None:
        self._outage = None
        seconds = (outage.over or 0) - outage.began
        self._say(f"writes again after {seconds:.0f} s, {_frames(outage.lost)} dropped{self._events()}")

    def _events(self) -> str:
        """Say how many events were lost since this was said; empty for none."""
        lost, self._said_lost = self._carried.lost - self._said_lost, self._carried.lost
        self._saying_lost = False
        return f", {lost} event{'s' * (lost != 1)} lost" if lost else ""

    def _say(self, what: str) -> None:
        self._tell(f"output {self._name}: {what}")


class _Outage:
    """A time in which an output cannot be written: its begin, frames dropped before it, and the line told."""

    def __init__(self, began: float, before: int) -> None:
        self.began, self.before, self.told = began, before, ""
        self.over: float | None = None  # when a frame was written again
        self.lost = 0


def _frames(number: int) -> str:
    return f"{number} frame{'s' * (number != 1)}"
