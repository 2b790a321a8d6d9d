"""Source of a recording's frames: every frame up to the container's end, whatever is damaged in between."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import av
import numpy as np
from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream

from ssd_edge.errors import SourceError
from ssd_edge.files import LFS_ADVICE, is_lfs_pointer
from ssd_edge.pixels import Image, Pixels
from ssd_edge.stream.frames import Frame, Source

# Titles and the like that are no UTF-8 are not an error; PyAV 19 reads them so by itself.
LENIENT: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
_TIMEOUT = 5.0  # seconds for opening and for reading a file on a web server
_REGULAR, _JITTER = 0.8, 0.1  # share of frames that come within so much of a period, where the rate is a steady one
_GIVE_UP = 1000  # readings that fail one after another, after which the container is taken to be at its end


class VideoSource(Source):
    """Source of a video file's frames, as fast as they are read; a frame that cannot be decoded is counted as lost.

    Args:
        path: the file, or its address on a web server.
        name: name for people; the path if not given.

    Raises:
        SourceError: the file holds no frame that can be decoded.
    """

    way = "PyAV"

    def __init__(self, path: Path | str, name: str = "") -> None:
        super().__init__()
        self.name, self.path = name or str(path), path if isinstance(path, Path) else None
        try:
            self._container, self._stream = _opened(path)
        except (av.error.FFmpegError, OSError, StopIteration):
            raise self._unreadable() from None
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate and 0 < rate < 1000 else None
        self._images = self._decoded()
        self._index, self._packets, self._regular, self._end = 0, 0, 0, 0.0
        self._first = next(self._images, None)
        if self._first is None:
            self._container.close()
            raise self._unreadable()
        self._start = self._first[1] or 0.0

    def read(self) -> Frame | None:
        """Read the next frame that can be decoded."""
        if self._stopping.is_set():
            return None
        began = monotonic()
        pair, self._first = self._first or next(self._images, None), None
        if pair is None:
            return None
        image, time = pair
        index, self._index = self._index, self._index + 1
        # Frames of a phone's video are not evenly spaced, so the container's own times are used; not all have them.
        position = index / (self.fps or 30) if time is None else max(0.0, time - self._start)
        end = position + 1 / (self.fps or 30)
        self._regular += abs((end - self._end) * (self.fps or 30) - 1) < _JITTER
        self._end = max(end, self._end)
        now = monotonic()
        return Frame(image, index, now, position, took=now - began)

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._images.close()
        self._container.close()

    def _decoded(self) -> Generator[tuple[Pixels, float | None], None, None]:
        """Yield all frames with their times in seconds, if they have any; then count what is missing."""
        yield from self._frames(self._demuxed())
        self.lost += self._missing()

    def _demuxed(self) -> Iterator[Packet[VideoStream]]:
        """Yield and count the packets of the stream up to the container's end."""
        packets, failures = self._container.demux(self._stream), 0
        while failures < _GIVE_UP:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.error.FFmpegError, OSError):  # ends the iteration, but not the container
                failures += 1
                packets = self._container.demux(self._stream)
                continue
            failures = 0
            self._packets += packet.dts is not None or packet.size > 0  # an empty one repeats the last frame
            yield packet

    def _frames(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[tuple[Pixels, float | None]]:
        """Decode packets, and count those that cannot be decoded as lost."""
        for packet in packets:
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, OSError):
                self.lost += 1
                continue
            for frame in frames:
                yield _upright(frame), frame.time

    def _missing(self) -> int:
        """Count the frames that the container announces but does not hold, as where a recording was cut short."""
        stream, announced = self._stream, int(self._stream.frames)
        if not announced:
            return self._missing_by_time()
        if "mov" not in self._container.format.name:
            return max(0, announced - self._packets)
        # An edited .mp4 announces frames that are not to be shown, so the time that is missing has to agree.
        if stream.duration is None or stream.time_base is None or self._container.duration is None:
            return 0
        seconds = min(float(stream.duration * stream.time_base), self._container.duration / av.time_base)
        by_time = round((seconds - self._end) * (self.fps or 30))
        return max(0, min(announced - self._index - self.lost, by_time))

    def _missing_by_time(self) -> int:
        """Count frames by the times of the others, if those are regular; for containers that announce no number."""
        if self.fps is None or self._regular < _REGULAR * (self._index - 1):
            return 0
        seconds = self._end
        if len(self._container.streams) == 1 and self._container.duration is not None:
            seconds = max(seconds, self._container.duration / av.time_base)
        return max(0, round(seconds * self.fps) - self._index - self.lost)

    def _unreadable(self) -> SourceError:
        if self.path and is_lfs_pointer(self.path):
            return SourceError(f"{self.name} {LFS_ADVICE}")
        size = f" of {self.path.stat().st_size} bytes" if self.path else ""
        return SourceError(f"cannot read {self.name}{size} as a video: it is damaged, or in a format FFmpeg lacks")


def count_frames(path: Path) -> int:
    """Count a video file's frames, with those that cannot be decoded, by the container's word if it says.

    Raises:
        SourceError: the file holds no frame that can be decoded.
    """
    VideoSource(path).close()
    container, stream = _opened(path)
    with container:
        if stream.frames:
            return int(stream.frames)
        number = 0
        try:
            for packet in container.demux(stream):
                number += packet.size > 0
        except (av.error.FFmpegError, OSError):  # the part behind the damage is not counted, only not chosen from
            pass
        return number


def _opened(path: Path | str) -> tuple[InputContainer, VideoStream]:
    """Open a container and its video stream; what else it holds, such as sound or a cover picture, is not read."""
    # A name such as 12:30:05.mp4 would be an address without the protocol in front.
    name = f"file:{os.fspath(path)}" if isinstance(path, Path) else path
    container = av.open(name, timeout=None if isinstance(path, Path) else _TIMEOUT, **LENIENT)
    try:
        stream = container.streams.best("video") or next(iter(container.streams.video))
    except StopIteration:
        container.close()
        raise
    assert isinstance(stream, VideoStream)
    stream.thread_type = "AUTO"
    return container, stream


def _upright(frame: av.VideoFrame) -> Image:
    """Convert a frame to (height, width, 3) uint8 BGR, turned as a phone's video says; a multiple of 90 degrees."""
    image = frame.to_ndarray(format="bgr24")
    return np.ascontiguousarray(np.rot90(image, _turns(frame)), np.uint8)


def _turns(frame: av.VideoFrame) -> int:
    return round(frame.rotation / 90) % 4


def quarter_turns(path: Path) -> int:
    """Return how often a video has to be turned by 90 degrees, counterclockwise, to be upright; 0 if unknown."""
    try:
        container, stream = _opened(path)
        with container:
            return next((_turns(frame) for frame in container.decode(stream)), 0)
    except (av.error.FFmpegError, OSError, StopIteration):
        return 0
