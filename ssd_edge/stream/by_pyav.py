"""Video files read by PyAV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssd_edge.detector import Reader
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.cameras import Opener
from ssd_edge.stream.frames import Source
from ssd_edge.stream.video_file import VideoSource


def file(path: str, mode: CameraMode, reader: Reader) -> Source:
    """Read a video file; see ``VideoSource``."""
    return VideoSource(Path(path))


OPENS: Mapping[str, Opener] = {"file": file}
"""What PyAV reads, by kind of source."""
