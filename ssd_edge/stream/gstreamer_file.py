"""Source of a recording's frames decoded by GStreamer, in a Jetson's hardware or in software.

Its frames, their order and times are those of ``VideoSource``, which also counts what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from av import Packet
from av.video.stream import VideoStream

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.pixels import Pixels
from ssd_edge.stream.gstreamer import GStreamerConnection, lacking, no_hardware, quoted
from ssd_edge.stream.video_file import VideoSource, quarter_turns

_DIRECTIONS = ("identity", "90l", "180", "90r")  # of videoflip, by quarter turns; its older "method" has no effect
_ONE_EACH = frozenset({"av1", "h264", "hevc", "mjpeg", "mpeg4", "vp9"})
"""Codecs that have as many packets as frames to show; VP8 has packets that are not shown."""


class GStreamerVideo(VideoSource):
    """Source of a video file's frames, decoded by whatever decoder GStreamer chooses.

    Args:
        path: the file.
        reader: who reads the frames.

    Raises:
        SourceError: an element is missing, or the file holds no frame that can be decoded.
    """

    way = "GStreamer"
    _connection: GStreamerConnection | None = None

    def __init__(self, path: Path, reader: Reader) -> None:
        self._text, self._reader = self._pipeline(path), reader
        super().__init__(path)
        if self._connection is not None:
            self.way = self._connection.way

    def close(self) -> None:
        """Stop the pipeline, and close the file."""
        super().close()
        if self._connection is not None:
            self._connection.release()

    def _pipeline(self, path: Path) -> str:
        turns = quarter_turns(path)
        if missing := lacking("filesrc", "decodebin", *(["videoflip"] if turns else [])):
            raise SourceError(missing)
        flip = f"videoflip video-direction={_DIRECTIONS[turns]} ! " if turns else ""
        return f"{decoded(path)} ! {flip}appsink"

    def _frames(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[tuple[Pixels, float | None]]:
        """Take frames from the pipeline. Packets are only counted, beside it: those without a frame are lost."""
        self._connection = connection = self._connected()
        given, shown = 0, 0
        try:
            while (taken := connection.take(self._stopping.is_set)) is not None:
                given += 1
                yield taken.pixels, taken.position
                shown += _is_shown(next(packets, None))
        except SourceError as error:
            if not given:
                raise
            self.trouble = str(error)
        if not self._stopping.is_set():
            shown += sum(map(_is_shown, packets))
            self.lost += max(0, shown - given) if self._stream.codec_context.name in _ONE_EACH else 0

    def _connected(self) -> GStreamerConnection:
        return GStreamerConnection(self._text, self._reader, recorded=True)


class HardwareVideo(GStreamerVideo):
    """Source of a video file's frames, decoded in a Jetson's hardware.

    Raises:
        SourceError: the board lacks something for that, or a decoder for this file.
    """

    def _pipeline(self, path: Path) -> str:
        if missing := no_hardware() or lacking("filesrc", "decodebin"):
            raise SourceError(missing)
        turns = quarter_turns(path)  # nvvidconv counts counterclockwise too
        return f"{decoded(path)} ! nvvidconv flip-method={turns} ! video/x-raw,format=NV12 ! appsink"

    def _connected(self) -> GStreamerConnection:
        connection = super()._connected()
        if "hardware" not in connection.way:
            connection.release()
            raise SourceError(f"GStreamer has no hardware decoder for {self._stream.codec_context.name}")
        return connection


def decoded(path: Path) -> str:
    """Write the beginning of a pipeline that decodes a file's video, and not its sound."""
    return f'filesrc location={quoted(str(path))} ! decodebin expose-all-streams=false caps="video/x-raw(ANY)"'


def _is_shown(packet: Packet[VideoStream] | None) -> bool:
    return packet is not None and packet.size > 0 and not packet.is_discard
