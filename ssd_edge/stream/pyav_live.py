"""Connection to a network stream by PyAV, which knows when each frame's packet arrived and which frames are damaged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

import av
import numpy as np
from av import Packet
from av.video.stream import VideoStream

from ssd_edge.errors import SourceError
from ssd_edge.stream.arrivals import Arrivals
from ssd_edge.stream.integrity import FrameNumbers, Gaps, Gate
from ssd_edge.stream.live import Taken
from ssd_edge.stream.video_file import LENIENT

WAY = "PyAV"
"""How a stream is said to be read in which all losses are noticed."""

_TIMEOUT = 5.0  # seconds for opening, and without a packet
_DAMAGED = 10.0  # seconds of nothing but damaged pictures after which a stream is opened again
_ONE_THREAD = 1920 * 1088  # pixels of a frame that one thread decodes; each further thread holds a frame back
_THREADS = 4
_KEPT = 64  # packets whose arrival is remembered while the decoder reorders frames
_OPTIONS = {
    "rtsp_flags": "prefer_tcp",
    "allowed_media_types": "video",
    "fpsprobesize": "0",
    "analyzeduration": "500000",
}
_WHOLE = {"mjpeg"}  # codecs whose pictures need no other, and come in whole packets
_NOTICED = {"h264", "mjpeg"}  # codecs whose decoders tell of holes
_IN_PIECES = {"mpegts", "hls"}  # containers whose packets end where the next begins
_UNTIMED = {"mpjpeg", "mjpeg"}  # containers without the sender's times


class PyAvConnection:
    """An open network stream; see ``live.Connection``.

    Args:
        address: such as ``rtsp://…``; RTP comes over TCP where the server agrees.

    Raises:
        SourceError: it cannot be opened, or holds no video.
    """

    live = True

    def __init__(self, address: str) -> None:
        self.unreadable, self.ended = 0, ""
        began = monotonic()
        try:
            self._container = av.open(address, options=_OPTIONS, timeout=_TIMEOUT, **LENIENT)
        except (av.error.FFmpegError, OSError, ValueError):
            raise SourceError("it cannot be opened") from None
        if not self._container.streams.video:
            self._container.close()
            raise SourceError("it holds no video")
        self._stream: VideoStream = self._container.streams.video[0]
        context, rate = self._stream.codec_context, self._stream.average_rate
        context.thread_count = 1 if context.width * context.height <= _ONE_THREAD else _THREADS
        context.thread_type = "FRAME"
        self.fps = float(rate) if rate and 0 < rate < 1000 else None
        self.recorded = self._container.duration is not None or self._stream.frames > 0
        self._packets = self._container.demux(self._stream)
        self._arrivals = Arrivals(began, monotonic(), self._behind())
        self._arrived: dict[int | None, float] = {}
        self._last_arrival = began
        self._frames: deque[tuple[av.VideoFrame, bool]] = deque()
        self._gate, self._gaps, self._numbers = Gate(), Gaps(), FrameNumbers()
        self._numbers.missing_before(context.extradata or b"")
        self._timed = self._container.format.name not in _UNTIMED

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
        until = monotonic() + _DAMAGED
        began = monotonic()
        while not stopping():
            while self._frames:
                frame, damaged = self._frames.popleft()
                if self._gate.passes(damaged or frame.is_corrupt, bool(frame.key_frame), frame.time):
                    arrived = self._arrived.get(frame.pts, self._last_arrival)
                    image = np.ascontiguousarray(frame.to_ndarray(format="bgr24"), np.uint8)
                    return Taken(image, arrived, monotonic() - began)
                self.unreadable += 1
            if monotonic() > until:
                self.ended = f"only damaged pictures came for {_DAMAGED:.0f} s"
                return None
            asked = monotonic()
            try:
                packet = next(self._packets)
            except StopIteration:
                self.ended = "it hung up"
                return None
            except (av.error.FFmpegError, OSError):
                silent = monotonic() - asked > 0.9 * _TIMEOUT
                self.ended = f"nothing came for {_TIMEOUT:.0f} s" if silent else "it broke off"
                return None
            began = monotonic()
            self._decode(packet, began, began - asked)
        return None

    def release(self) -> None:
        """Close the stream."""
        self._container.close()

    def _decode(self, packet: Packet[VideoStream], now: float, waited: float) -> None:
        sent = None if packet.pts is None or not self._timed else float(packet.pts * packet.time_base)
        self._last_arrival = self._arrived[packet.pts] = self._arrivals.at(now, waited, sent)
        if len(self._arrived) > _KEPT:
            del self._arrived[next(iter(self._arrived))]
        damaged = packet.is_corrupt or self._missing_before(packet)
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, OSError):
            self._gate.passes(True, False, None)
            self.unreadable += 1
            return
        if damaged and not frames:
            self._gate.passes(True, False, None)
        self._frames += [(frame, damaged) for frame in frames]

    def _behind(self) -> int:
        """Return how many pictures have to begin before FFmpeg hands one out."""
        if self._stream.codec_context.name in _WHOLE:
            return 0
        return 2 if self._container.format.name in _IN_PIECES else 1

    def _missing_before(self, packet: Packet[VideoStream]) -> bool:
        name = self._stream.codec_context.name
        if name == "h264":
            return self._numbers.missing_before(bytes(packet))
        if name in _WHOLE or not self._timed:
            return False
        gap = self._gaps.before(None if packet.dts is None else float(packet.dts * packet.time_base))
        return gap and not packet.is_keyframe
