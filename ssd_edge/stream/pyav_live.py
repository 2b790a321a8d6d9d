"""Connection to a network stream by PyAV, which knows when each frame's packet arrived and which frames are damaged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

import av
import numpy as np
from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream

from ssd_edge.errors import SourceError
from ssd_edge.pixels import Image
from ssd_edge.stream.arrivals import Arrivals
from ssd_edge.stream.encoded import Encoded
from ssd_edge.stream.integrity import FrameNumbers, Gaps, Gate, ParameterSets
from ssd_edge.stream.live import Taken
from ssd_edge.stream.packets import OPENING, Packets

WAY = "PyAV"
"""How a stream is said to be read in which all losses are noticed."""

_DAMAGED = 10.0  # seconds of nothing but damaged pictures after which a stream is opened again
_ONE_THREAD = 1920 * 1088  # pixels of a frame that one thread decodes; each further thread holds a frame back
_THREADS = 4
_KEPT = 64  # packets whose arrival is remembered while the decoder reorders frames
_WHOLE = {"mjpeg"}  # codecs whose pictures need no other, and come in whole packets
_NOTICED = {"h264", "mjpeg"}  # codecs whose decoders tell of holes
_IN_PIECES = {"mpegts", "hls"}  # containers whose packets end where the next begins
_UNTIMED = {"mpjpeg", "mjpeg"}  # containers without the sender's times


class PyAvConnection:
    """A network stream; see ``live.Connection``. It is opened in a thread, so that a stop need not wait for it.

    Args:
        address: such as ``rtsp://…``; RTP comes over TCP where the server agrees.
        opens_within: see ``packets.OPENING``.
    """

    live = True
    fps: float | None = None

    def __init__(self, address: str, opens_within: float = OPENING) -> None:
        self.unreadable, self.ended = 0, ""
        self._packets = Packets(address, opens_within)
        self._arrived: dict[int | None, float] = {}
        self._frames: deque[tuple[av.VideoFrame, bool, Encoded | None]] = deque()
        self._gate, self._gaps, self._numbers, self._sets = Gate(), Gaps(), FrameNumbers(), ParameterSets()
        self._opened = False

    def opened(self, stopping: Callable[[], bool]) -> bool:
        """Wait until it is open; False once ``stopping`` is true.

        Raises:
            SourceError: it cannot be opened, or holds no video.
        """
        if not self._opened and (container := self._packets.container(stopping)) is not None:
            self._begin(container)
            self._opened = True
        return self._opened

    def _begin(self, container: InputContainer) -> None:
        self._container, self._stream = container, container.streams.video[0]
        context, rate = self._stream.codec_context, self._stream.average_rate
        context.thread_count = 1 if context.width * context.height <= _ONE_THREAD else _THREADS
        context.thread_type = "FRAME"
        self._alone = context.name in _WHOLE and context.thread_count == 1  # a packet holds the frame that it gives
        self.fps = float(rate) if rate and 0 < rate < 1000 else None
        self._arrivals = Arrivals(self._packets.began, self._packets.opened, self._behind())
        self._last_arrival = self._packets.began
        self._numbers.missing_before(context.extradata or b"")
        self._sets.doubted(context.extradata or b"", described=True)
        self._timed = container.format.name not in _UNTIMED

    @property
    def recorded(self) -> bool:
        """Whether it has an end, as a file on a web server; known once it is open."""
        return self._container.duration is not None or self._stream.frames > 0

    @property
    def notices_loss(self) -> bool:
        """Whether a loss within a picture is noticed: FFmpeg does not tell of lost RTP, nor of a hole in H.265."""
        return self._container.format.name != "rtsp" or self._stream.codec_context.name in _NOTICED

    @property
    def way(self) -> str:
        """See ``live.Connection``."""
        name = self._stream.codec_context.name
        return WAY if self.notices_loss else f"{WAY}, which does not notice all losses of {name}"

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        """Wait for the next whole frame; see ``live.Connection``."""
        try:
            self.opened(stopping)
        except SourceError:
            self.ended = "it is not back yet"
            return None
        until = monotonic() + _DAMAGED
        began = monotonic()
        while not stopping():
            while self._frames:
                frame, damaged, encoded = self._frames.popleft()
                if self._gate.passes(damaged or frame.is_corrupt, bool(frame.key_frame), frame.time):
                    image = converted(frame)
                    if image is not None:
                        arrived = self._arrived.get(frame.pts, self._last_arrival)
                        return Taken(image, arrived, monotonic() - began, encoded=encoded)
                    self._gate.passes(True, False, None)
                self.unreadable += 1
            if monotonic() > until:
                self.ended = f"only damaged pictures came for {_DAMAGED:.0f} s"
                return None
            if (arrived_packet := self._packets.take(stopping)) is None:
                self.ended = self._packets.ended
                return None
            began = monotonic()
            self._decode(*arrived_packet)
        return None

    def release(self) -> None:
        """Close the stream, or leave that to its thread where FFmpeg waits."""
        self._packets.close()

    def _decode(self, packet: Packet[VideoStream], now: float, waited: float) -> None:
        sent = None if packet.pts is None or not self._timed else float(packet.pts * packet.time_base)
        self._last_arrival = self._arrived[packet.pts] = self._arrivals.at(now, waited, sent)
        if len(self._arrived) > _KEPT:
            del self._arrived[next(iter(self._arrived))]
        damaged = packet.is_corrupt or self._damage_before(packet)
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, OSError):
            self._gate.passes(True, False, None)
            self.unreadable += 1
            return
        if damaged and not frames:
            self._gate.passes(True, False, None)
        encoded = Encoded("mjpeg", bytes(packet)) if self._alone and len(frames) == 1 else None
        self._frames += [(frame, damaged, encoded) for frame in frames]

    def _behind(self) -> int:
        """Return how many pictures have to begin before FFmpeg hands one out."""
        if self._stream.codec_context.name in _WHOLE:
            return 0
        return 2 if self._container.format.name in _IN_PIECES else 1

    def _damage_before(self, packet: Packet[VideoStream]) -> bool:
        name = self._stream.codec_context.name
        if name == "h264":
            data = bytes(packet)
            missing = self._numbers.missing_before(data)
            return self._sets.doubted(data) or missing
        if name in _WHOLE or not self._timed:
            return False
        gap = self._gaps.before(None if packet.dts is None else float(packet.dts * packet.time_base))
        return gap and not packet.is_keyframe


def converted(frame: av.VideoFrame) -> Image | None:
    """Convert a picture to (height, width, 3) uint8 BGR; None if its colours are of a kind that cannot be.

    Wrong bytes in what describes them make such a picture.
    """
    try:
        return np.ascontiguousarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except (av.error.FFmpegError, OSError, ValueError):
        return None
