"""The state of a camera or stream that may come and go: what it is, when to try again, and the outages so far."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Literal

from ssd_edge.stream.backoff import FIRST_DELAY, LAST_DELAY, BackOff

State = Literal["connecting", "streaming", "stalled", "waiting"]
"""``connecting``: it is being opened. ``streaming``: frames come. ``stalled``: it is open, and no frame comes.
``waiting``: it was lost, and is opened again after a while."""

_STEADY = 5.0  # seconds of frames after which the next outage begins with the first delay again
_SILENCE = 1.0  # seconds without a frame after which a source counts as stalled
_SILENT_FRAMES = 5  # the same in frame intervals, for slow sources
_SAID_ATTEMPTS = 5  # of an outage; later ones are said once a minute, since it may last for days
_SAY_EVERY = 60.0
_KEPT = 100  # outages of which the report tells the times
_SMOOTHING = 0.2


@dataclass(frozen=True)
class Outage:
    """A time without frames.

    Attributes:
        began: seconds since the source was opened, at the last frame before it.
        seconds: its length, from frame to frame.
        frames: about how many frames a source of this rate sends in that time; None if the rate is unknown.
        reason: what was seen.
    """

    began: float
    seconds: float
    frames: int | None
    reason: str


@dataclass(frozen=True)
class Health:
    """A source's state and outages.

    Attributes:
        state: see ``State``.
        outages: the last 100 outages.
        outage_count: number of all outages, with one that is going on.
        outage_seconds: length of all of them together.
        frames_missed: about how many frames they cost.
    """

    state: str
    outages: tuple[Outage, ...]
    outage_count: int
    outage_seconds: float
    frames_missed: int


class Supervision:
    """The state machine of one source; any thread may call it.

    Args:
        name: the source's name for people; it begins each line.
        clock: monotonic seconds.
        chance: gives random numbers from 0 to 1.

    Attributes:
        clock: monotonic seconds.
        tell: takes one line at each change of state.
    """

    def __init__(
        self, name: str, clock: Callable[[], float] = monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self.name, self.state = name, "connecting"
        self.tell: Callable[[str], None] = lambda line: None
        self.clock, self._lock = clock, threading.RLock()
        self._back_off = BackOff(FIRST_DELAY, LAST_DELAY, chance)
        self._opened = self._last = self._since = self._connecting = clock()
        self._interval: float | None = None
        self._captured: float | None = None
        self._came, self._reason = False, ""
        self._outage_attempts, self._saying, self._said = 0, True, -inf
        self._outages: deque[Outage] = deque(maxlen=_KEPT)
        self._count, self._seconds, self._missed = 0, 0.0, 0

    @property
    def patience(self) -> float:
        """Seconds without a frame after which the source counts as stalled."""
        return max(_SILENCE, _SILENT_FRAMES * (self._interval or 0.0))

    def frame(self, captured: float | None = None) -> None:
        """Note that a frame came.

        Args:
            captured: when it arrived here, by the clock; now if not given.
        """
        with self._lock:
            now = self.clock()
            captured = now if captured is None else captured
            if self._came:
                self.look()
                if self.state != "streaming":
                    self._end_outage(now)
            if self.state != "streaming":
                self._since = now
            elif now - self._since >= _STEADY:
                self._back_off.reset()
            self.measure(captured)
            self._last, self._came, self.state = now, True, "streaming"

    def say(self, what: str) -> None:
        """Tell something about the source in one line."""
        self.tell(f"{self.name}: {what}")

    def look(self) -> None:
        """See whether frames still come; to be called every now and then while none does."""
        with self._lock:
            silent = self.clock() - self._last
            if self.state == "streaming" and silent > self.patience:
                self.state, self._reason = "stalled", "no frame came"
                self.say(f"stalled, no frame for {self.patience:.1f} s")

    def lost(self, reason: str) -> float:
        """Note that the source was lost or could not be opened.

        Args:
            reason: what was seen, as a part of a sentence.

        Returns:
            The seconds to wait before it is opened again: from the last attempt's beginning 0.2 at first, then doubled
            up to 1, each varied by chance; and at least the first delay after one that took long.
        """
        with self._lock:
            if self.state in ("streaming", "stalled"):
                self._reason = reason
            delay = self._back_off.delay(self.clock() - self._connecting if self.state == "connecting" else 0.0)
            self.state = "waiting"
            self._outage_attempts += 1
            self._saying = self._outage_attempts <= _SAID_ATTEMPTS or self.clock() - self._said >= _SAY_EVERY
            if self._saying:
                self._said = self.clock()
                self.say(f"{reason}; waiting {delay:.1f} s")
            return delay

    def connect(self) -> None:
        """Note that it is being opened again."""
        with self._lock:
            self.state, self._connecting = "connecting", self.clock()
            if self._saying:
                self.say(f"connecting again, {self.clock() - self._last:.1f} s after its last frame")

    def health(self) -> Health:
        """Report the state and the outages, with the one that is going on."""
        with self._lock:
            outages, count, seconds, missed = tuple(self._outages), self._count, self._seconds, self._missed
            if self._came and self.state != "streaming":
                outage = self._outage(self.clock())
                outages = (*outages, outage)[-_KEPT:]
                count, seconds, missed = count + 1, seconds + outage.seconds, missed + (outage.frames or 0)
            return Health(self.state, outages, count, seconds, missed)

    def measure(self, captured: float) -> None:
        """Measure the source's interval by a frame that arrived at this time, also one that was too old to pass.

        Frames that came in one go say nothing, and an outage counts as no more than a frame that is missing.
        """
        with self._lock:
            gap, self._captured = captured - (captured if self._captured is None else self._captured), captured
            if gap > 0:
                old = gap if self._interval is None else self._interval
                self._interval = old + _SMOOTHING * (min(gap, 2 * old) - old)

    def _outage(self, now: float) -> Outage:
        seconds = now - self._last
        frames = round(seconds / self._interval) if self._interval else None
        return Outage(self._last - self._opened, seconds, frames, self._reason)

    def _end_outage(self, now: float) -> None:
        outage, self._outage_attempts = self._outage(now), 0
        self._outages.append(outage)
        self._count, self._seconds = self._count + 1, self._seconds + outage.seconds
        self._missed += outage.frames or 0
        about = "" if outage.frames is None else f", about {outage.frames} frames lost"
        self.say(f"frames come again after {outage.seconds:.1f} s{about}")
