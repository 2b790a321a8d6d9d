"""When a stream's packets arrived, also of those that waited in a parser or in a full network."""

from __future__ import annotations

from collections import deque
from math import inf

_AT_ONCE = 0.002  # seconds; a packet that is there sooner had arrived before it was asked for
_SOON = 0.05  # seconds for which a busy machine may let a packet wait that is there
_LONG = 1.0  # seconds of waiting after which even a packet without a parser may be one that was held back
_AFTER_OPENING = 2.0  # seconds for which packets may have been kept since the opening
_WINDOW = 5.0  # seconds, of the stream and of the clock, after which an older shortest delay no longer counts
_HURRY = 0.5  # share of the time between two packets at the sender in which a packet that was kept comes here
_BACK = 1.0  # seconds by which a sender's time goes back where it begins anew


class Arrivals:
    """Estimates when each packet arrived, in seconds of the clock; a doubt makes a packet older, never younger.

    - FFmpeg keeps the packets that it looked at while it opened a stream: they count as if they had come when the
      opening began.
    - Its parser sees the end of a picture only where the next one begins. So a picture began to arrive when the
      one before was handed out, or the one before that; the last one before a pause is handed out after it. Motion
      JPEG over HTTP is the same where the camera does not tell the length of its pictures, which cannot be seen: the
      first picture after a pause counts as held.
    - A machine that is too busy while a stream is opened finds its first packets later, and all at once: until two came
      at their own pace, those that come faster than they were sent count like those that were kept.
    - After a pause, a network delivers what it held in one go. The sender's times tell these pictures: compared with
      the shortest delay of the last 5 to 10 seconds, they are late.

    Args:
        began: time at which the opening began.
        opened: time at which it was done.
        behind: number of pictures that have to begin after one before it is handed out: one for a parser, two for a
            parser behind MPEG-TS, whose packets end where the next begins, too.
    """

    def __init__(self, began: float, opened: float, behind: int) -> None:
        self._began, self._opened, self._behind = began, opened, behind
        self._kept, self._handed_out = True, deque([began], maxlen=max(1, behind))
        self._least, self._window = (inf, inf), (0.0, 0.0)
        self._first_sent, self._last_sent = -inf, -inf
        self._unsure = behind + 1  # packets at their own pace whose arrival is told by the opening's

    def at(self, now: float, waited: float, sent: float | None) -> float:
        """Estimate when a packet arrived.

        Args:
            now: time at which it was handed out.
            waited: seconds for which it was waited for.
            sent: its time by the sender's clock, in seconds; None if it has none.
        """
        self._kept = self._kept and waited < _AT_ONCE and now - self._opened < _AFTER_OPENING
        hurries = sent is not None and self._unsure > 0 and waited < _SOON and self._hurries(now, sent)
        held = self._behind > 0 or waited > _LONG
        arrived = self._handed_out[0] if held else now
        self._handed_out.append(now)
        self._unsure -= self._unsure > 0 and not self._kept and not hurries
        if self._kept or hurries:
            arrived = self._began
        elif sent is not None and not self._unsure:
            arrived = self._by_sender(now, arrived, sent)
        if sent is not None:
            self._first_sent, self._last_sent = sent if self._first_sent == -inf else self._first_sent, sent
        return arrived

    def _hurries(self, now: float, sent: float) -> bool:
        """Tell whether a packet comes much faster than it was sent, as it can for as long as the opening is ago."""
        possible = sent - self._first_sent <= now - self._began
        return possible and now - self._handed_out[-1] < _HURRY * (sent - self._last_sent)

    def _by_sender(self, now: float, arrived: float, sent: float) -> float:
        """Return the time of an arrival, or an earlier one if the packet is later than others by the sender's time."""
        if sent < self._last_sent - _BACK:
            self._forget(sent, now)
        if sent - self._window[0] > _WINDOW and now - self._window[1] > _WINDOW:
            self._least, self._window = (self._least[1], inf), (sent, now)
        self._least = self._least[0], min(self._least[1], arrived - sent)
        return min(arrived, *(least + sent for least in self._least))

    def _forget(self, sent: float, now: float) -> None:
        self._least, self._window = (inf, inf), (sent, now)
