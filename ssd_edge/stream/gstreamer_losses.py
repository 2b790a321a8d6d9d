"""What GStreamer's RTP lost or got late.

It marks the packet after a gap, but not the pictures that its decoders make of the rest. And it moves the times of
packets that a network held to when they came, as if they were new; their RTP times tell how late they are.
"""

from __future__ import annotations

from collections import deque
from math import inf
from time import monotonic
from typing import Any

from ssd_edge.stream.arrivals import Arrivals
from ssd_edge.stream.integrity import Gate

_KEPT = 256  # pictures whose arrival is remembered on their way through the decoder
_AUTO, _RTP_TIMES = 3, 0  # of rtspsrc's buffer-mode
_WRAP = 1 << 32  # of RTP times


class Losses:
    """Watches what leaves the RTP depayloaders of a pipeline, and tells whole pictures at its end from others.

    Args:
        gst: GStreamer.
    """

    def __init__(self, gst: Any) -> None:
        self._gst = gst
        self._events: deque[tuple[int, bool, bool]] = deque()  # time, after a gap, key frame
        self._watched = False
        self._gate = Gate()
        self._last = -1
        self._arrivals = Arrivals(monotonic(), -inf, behind=0)
        self._arrived: dict[int, float] = {}
        self._rtp, self._sent = 0, 0  # the last time in a packet, and the same without wrapping

    def watch(self, element: Any) -> None:
        """Watch an element of the pipeline, if it is a depayloader; and let ``rtspsrc`` keep the sender's times.

        By default it moves those of packets that come in one go to the present, and clamps them.
        """
        factory = element.get_factory()
        if (
            factory is not None
            and factory.get_name() == "rtspsrc"
            and int(element.get_property("buffer-mode")) == _AUTO
        ):
            element.set_property("buffer-mode", _RTP_TIMES)
        if factory is not None and "Depayloader" in str(factory.get_metadata("klass")):
            element.get_static_pad("src").add_probe(self._gst.PadProbeType.BUFFER, self._note, None)
            element.get_static_pad("sink").add_probe(self._gst.PadProbeType.BUFFER, self._date, None)

    def passes(self, buffer: Any) -> bool:
        """Tell whether a decoded picture is whole, and later than the last."""
        flags, time = buffer.get_flags(), buffer.pts
        while self._events and self._events[0][0] <= time:
            _, damaged, key = self._events.popleft()
            self._gate.passes(damaged, key, None)
        corrupt = bool(flags & self._gst.BufferFlags.CORRUPTED)
        if self._watched and corrupt:
            self._gate.passes(True, False, None)
        timed = time != self._gst.CLOCK_TIME_NONE
        backward = timed and time <= self._last
        self._last = time if timed else self._last
        return not (corrupt or backward or self._gate.shut)

    def arrived(self, time: int) -> float | None:
        """Return when a picture's first packet arrived, by the clock of ``monotonic``; None if that is not known.

        Args:
            time: the picture's time in the pipeline, in nanoseconds.
        """
        if time in self._arrived:
            return self._arrived[time]
        before = max((one for one in list(self._arrived) if one <= time), default=None)  # a parser may shift times
        return None if before is None else self._arrived.get(before)

    def _date(self, pad: Any, info: Any, data: None) -> Any:
        buffer, caps = info.get_buffer(), pad.get_current_caps()
        rate = caps.get_structure(0).get_int("clock-rate")[1] if caps is not None else 0
        if rate > 0 and buffer.pts not in self._arrived:
            head = buffer.extract_dup(4, 4)  # RFC 3550, 5.1
            rtp = int.from_bytes(bytes(head), "big")
            step = (rtp - self._rtp + _WRAP // 2) % _WRAP - _WRAP // 2
            self._rtp, self._sent = rtp, self._sent + step
            self._arrived[buffer.pts] = self._arrivals.at(monotonic(), 0.0, self._sent / rate)
            if len(self._arrived) > _KEPT:
                del self._arrived[next(iter(self._arrived))]
        return self._gst.PadProbeReturn.OK

    def _note(self, pad: Any, info: Any, data: None) -> Any:
        buffer, kinds = info.get_buffer(), self._gst.BufferFlags
        flags = buffer.get_flags()
        # The first packet of all is marked as one after a gap, too.
        gap = self._watched and bool(flags & kinds.DISCONT)
        key = not flags & kinds.DELTA_UNIT
        self._watched = True
        if gap or key:
            time = 0 if buffer.pts == self._gst.CLOCK_TIME_NONE else buffer.pts
            while self._events and self._events[-1][0] > time:  # the pipeline's times went back
                gap |= self._events.pop()[1]
            self._events.append((time, gap, key))
        return self._gst.PadProbeReturn.OK
