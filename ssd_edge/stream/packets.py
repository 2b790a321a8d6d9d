"""Read a network stream's packets in a thread of their own, which can be left behind while FFmpeg waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

import av
from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream

from ssd_edge.errors import SourceError
from ssd_edge.stream.video_file import LENIENT

SILENCE = 5.0
"""Seconds without a packet after which a stream is opened again."""

OPENING = 5.0
"""Seconds that a server has for each of the two steps of opening: its answers, and the first packets."""

_AHEAD = 4  # packets read ahead; the network holds the rest
_SLICE = 0.05  # seconds of one wait, after which a stop is looked for
_GRACE = 0.2  # seconds for which closing waits for FFmpeg
_OPTIONS = {"fpsprobesize": "0", "analyzeduration": "500000"}
_RTSP_OPTIONS = {
    "rtsp_flags": "prefer_tcp",
    "allowed_media_types": "video",
    # The server's description tells the codec; otherwise FFmpeg waits for pictures that are shown later.
    "probesize": "32",
}


class Arrived(NamedTuple):
    """A packet, the time at which FFmpeg handed it out, and the seconds for which it was waited for."""

    packet: Packet[VideoStream]
    at: float
    waited: float


class Packets:
    """Packets of a network stream's video.

    A call of FFmpeg that waits for the network ends at its own time-out only. So a thread calls it, and whoever takes
    the packets can stop at any time: ``close`` hardly waits, and leaves it to the thread to close the stream
    once FFmpeg returns.

    Args:
        address: such as ``rtsp://…``; RTP comes over TCP where the server agrees.
        opens_within: see ``OPENING``.

    Attributes:
        began, opened: times at which the opening began and was done.
        ended: why there are no more packets, as a part of a sentence.
    """

    def __init__(self, address: str, opens_within: float = OPENING) -> None:
        self.began = self.opened = monotonic()
        self.ended = ""
        self._address, self._opens_within = address, opens_within
        self._container: InputContainer | None = None
        self._arrived: deque[Arrived] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="packets", daemon=True)
        self._thread.start()

    def container(self, stopping: Callable[[], bool]) -> InputContainer | None:
        """Wait for the opening; None once ``stopping`` is true.

        Raises:
            SourceError: it cannot be opened, or holds no video.
        """
        with self._changed:
            while self._container is None and not self.ended:
                if stopping():
                    return None
                self._changed.wait(_SLICE)
            if self._container is None:
                raise SourceError(self.ended)
            return self._container

    def take(self, stopping: Callable[[], bool]) -> Arrived | None:
        """Wait for the next packet; None if there will be none, or once ``stopping`` is true."""
        with self._changed:
            while not self._arrived and not self.ended:
                if stopping():
                    return None
                self._changed.wait(_SLICE)
            if not self._arrived:
                return None
            arrived = self._arrived.popleft()
            self._changed.notify_all()
            return arrived

    def close(self) -> None:
        """Close the stream; may be called twice."""
        with self._changed:
            again, self._closing = self._closing, True
            self._changed.notify_all()
        if not again:
            self._thread.join(_GRACE)

    def _run(self) -> None:
        container = self._open()
        if container is None:
            return
        with container:
            reason = self._read(container)
            with self._changed:
                self.ended = reason
                self._changed.notify_all()
                # Its decoder may still be at work on the last packets.
                self._changed.wait_for(lambda: self._closing)

    def _open(self) -> InputContainer | None:
        options = {**_OPTIONS, **(_RTSP_OPTIONS if self._address.startswith("rtsp") else {})}
        container, reason = None, "it cannot be opened"
        with suppress(av.error.FFmpegError, OSError, ValueError):
            container = av.open(self._address, options=options, timeout=(self._opens_within, SILENCE), **LENIENT)
        if container is not None and not container.streams.video:
            container.close()
            container, reason = None, "it holds no video"
        with self._changed:
            self.opened, self._container = monotonic(), container
            self.ended = "" if container else reason
            self._changed.notify_all()
        return container

    def _read(self, container: InputContainer) -> str:
        """Read packets to the end; return the reason for it."""
        packets = container.demux(container.streams.video[0])
        while True:
            asked, packet = monotonic(), None
            try:
                packet = next(packets)
            except StopIteration:
                return "it hung up"
            except (av.error.FFmpegError, OSError):
                pass
            now = monotonic()
            # At its time-out FFmpeg first hands out the picture that its parser held, and waits once more.
            if now - asked > 0.9 * SILENCE:
                return f"nothing came for {SILENCE:.0f} s"
            if packet is None:
                return "it broke off"
            with self._changed:
                self._changed.wait_for(lambda: len(self._arrived) < _AHEAD or self._closing)
                if self._closing:
                    return ""
                self._arrived.append(Arrived(packet, now, now - asked))
                self._changed.notify_all()
