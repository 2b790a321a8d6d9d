"""Video files and network streams read by PyAV."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.stream.addresses import shown
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.cameras import Opener, no_frames_from
from ssd_edge.stream.frames import Source
from ssd_edge.stream.live import LiveSource
from ssd_edge.stream.packets import OPENING
from ssd_edge.stream.pyav_live import PyAvConnection
from ssd_edge.stream.video_file import VideoSource

_OPENING_AGAIN = 1.5, 1.5, 1.5, OPENING
"""Seconds that a lost stream's server has to answer, by attempt: one that hung when the server came back would cost the
rest of its time, and a slow camera needs more."""


def file(path: str, mode: CameraMode, reader: Reader) -> Source:
    """Read a video file; see ``VideoSource``."""
    return VideoSource(Path(path))


def network(address: str, mode: CameraMode, reader: Reader) -> Source:
    """Open a stream; a file on a web server is read as a recording.

    Raises:
        SourceError: the stream gives no frames.
    """
    first = [PyAvConnection(address)]
    try:
        first[0].opened(lambda: False)
        recorded = first[0].recorded
    except BaseException as error:  # Ctrl-C too
        first[0].release()
        if isinstance(error, SourceError):
            raise SourceError(no_frames_from(address)) from None
        raise
    if address.startswith("http") and recorded:
        first[0].release()
        return VideoSource(address, shown(address))
    patience = cycle(_OPENING_AGAIN)

    def connect() -> PyAvConnection:
        # Many cameras allow only one connection, so the first is used.
        return first.pop() if first else PyAvConnection(address, next(patience))

    return LiveSource(shown(address), connect, no_frames_from(address))


OPENS: Mapping[str, Opener] = {"file": file, "stream": network}
"""What PyAV reads, by kind of source."""
