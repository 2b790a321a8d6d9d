"""Open a source from what a user types.

open_source("0"), ("clip.mp4"), ("photos/"), ("rtsp://…"), ("synthetic")
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import cv2

from ssd_edge.errors import SourceError
from ssd_edge.stream.cameras import SyntheticSource, camera, network, pipeline
from ssd_edge.stream.files import IMAGE_SUFFIXES, ImageSource, VideoSource, images_in
from ssd_edge.stream.frames import Frame, Source

__all__ = ["Frame", "Source", "open_source"]


def open_source(
    uri: str, *, realtime: bool = True, size: tuple[int, int] | None = None, fps: float | None = None
) -> Source:
    """Open a source from what a user types.

    Args:
        uri: a camera's number (``0``) or device (``/dev/video0``); a video file; a picture; a folder of pictures,
            which are read in the order of their names; an ``rtsp://`` or ``http://`` address; a GStreamer pipeline
            (``… ! appsink``, if OpenCV was built with GStreamer, as JetPack's is); ``synthetic`` or ``synthetic:SEED``.
        realtime: whether the synthetic camera keeps to its frame rate; otherwise it draws as fast as it is read.
        size: (width, height) to request from a camera, or to draw.
        fps: frame rate to request from a camera, or to draw at (30 by default).

    Raises:
        SourceError: there is no such source, or it gives no frames.
    """
    _hush()
    if uri == "synthetic" or uri.startswith("synthetic:"):
        return SyntheticSource(_seed(uri), size or (640, 480), fps or 30.0, realtime)
    if match := re.fullmatch(r"(?:/dev/video)?(\d+)", uri):
        return camera(int(match[1]), size, fps)
    if " ! " in uri:
        return pipeline(uri)
    if "://" in uri and not uri.startswith("file://"):
        return network(uri)
    path = _expanded(Path(uri.removeprefix("file://")))
    if path.is_dir():
        return ImageSource(path, images_in(path))
    if not path.exists():
        raise SourceError(
            f"there is no file or folder {uri}: give one that exists, a camera number such as 0, "
            "an rtsp:// address, or 'synthetic'"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource(path, [path])
    return VideoSource(path)


def _expanded(path: Path) -> Path:
    """Replace ``~`` by the home folder; a user without one may have a folder of that name."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _seed(uri: str) -> int:
    text = uri.partition(":")[2] or "0"
    if not text.isdecimal():
        raise SourceError(f"the seed of the synthetic camera must be a whole number, as in synthetic:7, but got {uri}")
    return int(text)


def _hush() -> None:
    """Silence OpenCV's and FFmpeg's messages, since the user gets one sentence instead; variables already set win."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV 4.10 to 4.12 has no cv2.utils.logging, and OpenCV 5 no cv2.setLogLevel.
        getattr(cv2.utils, "logging", cv2).setLogLevel(0)  # 0: silent
