"""Video files and network streams read by PyAV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.stream.addresses import shown
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.cameras import Opener, no_frames_from
from ssd_edge.stream.frames import Source
from ssd_edge.stream.live import LiveSource
from ssd_edge.stream.pyav_live import PyAvConnection
from ssd_edge.stream.video_file import VideoSource


def file(path: str, mode: CameraMode, reader: Reader) -> Source:
    """Read a video file; see ``VideoSource``."""
    return VideoSource(Path(path))


def network(address: str, mode: CameraMode, reader: Reader) -> Source:
    """Open a stream; a file on a web server is read as a recording.

    Raises:
        SourceError: the stream gives no frames.
    """
    try:
        first = [PyAvConnection(address)]
    except SourceError:
        raise SourceError(no_frames_from(address)) from None
    if address.startswith("http") and first[0].recorded:
        first[0].release()
        return VideoSource(address, shown(address))

    def connect() -> PyAvConnection:
        # Many cameras allow only one connection, so the first is used.
        return first.pop() if first else PyAvConnection(address)

    return LiveSource(shown(address), connect, no_frames_from(address))


OPENS: Mapping[str, Opener] = {"file": file, "stream": network}
"""What PyAV reads, by kind of source."""
