"""Open a source from what a user types.

open_source("0"), ("clip.mp4"), ("photos/"), ("rtsp://…"), ("synthetic")
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import cv2

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import video_devices
from ssd_edge.machine.host import this_host
from ssd_edge.stream.addresses import shown, without_secrets
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.cameras import checked
from ssd_edge.stream.files import IMAGE_SUFFIXES, ImageSource, images_in
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.stream.synthetic_camera import SyntheticSource
from ssd_edge.stream.ways import DEFAULT_WAY, check_way, open_by

__all__ = ["CameraMode", "Frame", "Source", "check_source", "open_source"]

_LIKE_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*:/", re.IGNORECASE)


class Target(NamedTuple):
    """What a user means by what was typed: a kind of source, and a number, address, pipeline, path or seed."""

    kind: str
    what: str


def open_source(
    uri: str,
    *,
    realtime: bool = True,
    mode: CameraMode | None = None,
    way: str = DEFAULT_WAY,
    reader: Reader | None = None,
) -> Source:
    """Open a source from what a user types.

    Args:
        uri: a camera's number (``0``) or device (``/dev/video0``); a video file; a picture; a folder of pictures,
            which are read in the order of their names (what exists as a file or folder is read as one, whatever its
            name); an ``rtsp://`` or ``http://`` address; a GStreamer pipeline
            (``… ! appsink``); ``synthetic`` or ``synthetic:SEED``.
        realtime: whether the synthetic camera keeps to its frame rate; otherwise it draws as fast as it is read.
        mode: what to ask of a camera; the synthetic one draws 640×480 at 30 FPS by default.
        way: a key of ``WAYS``: what reads the source.
        reader: who reads the frames, usually the detector; by default anyone who takes BGR.

    Raises:
        SourceError: there is no such source, it does not give what is asked of it, or it gives no frames.
    """
    _hush()
    mode = mode or CameraMode()
    kind, what = target = _target(uri)
    _check(target, uri, mode, way)
    if kind == "synthetic":
        return SyntheticSource(_seed(what), mode.size or (640, 480), mode.fps or 30.0, realtime)
    if kind == "pictures":
        path = Path(what)
        return ImageSource(path, images_in(path) if path.is_dir() else [path])
    return open_by(way, kind, what, mode, reader or Reader())


def check_source(uri: str, mode: CameraMode, way: str = DEFAULT_WAY) -> None:
    """Check what is asked of a source, as ``open_source`` does, before anything is started.

    Raises:
        SourceError: there is no such source, or it does not give what is asked of it, as far as it tells unopened.
    """
    target = _target(uri)
    _check(target, uri, mode, way)
    if target.kind == "camera":
        checked(target.what, mode)


def same_source(one: str, other: str) -> bool:
    """Tell whether two sources are one, however they are written: ``0`` is ``/dev/video0``."""
    if one == other:
        return True
    try:
        first, second = _target(one), _target(other)
    except SourceError:
        return False
    if first.kind in {"file", "pictures"}:
        return first.kind == second.kind and os.path.realpath(first.what) == os.path.realpath(second.what)
    return first == second or {one, other} == {"synthetic", "synthetic:0"}


def _check(target: Target, uri: str, mode: CameraMode, way: str) -> None:
    check_way(way, target.kind)
    drawn = target.kind == "synthetic" and mode.pixel_format is None
    if str(mode) and not drawn and target.kind != "camera":
        raise SourceError(
            f"{without_secrets(uri)} cannot be asked for {mode}: size, frame rate and format are for cameras only"
        )


def _target(uri: str) -> Target:
    if _exists(uri) and not _is_device(uri):  # a file may have any name
        if uri.isdecimal() and f"video{int(uri)}" in video_devices(this_host()):
            raise SourceError(f"{uri} is a camera and also a file or folder: write /dev/video{int(uri)} or ./{uri}")
        return _file(Path(uri), uri)
    if (local := uri.removeprefix("file://")) != uri:
        return _file(Path(local if _exists(local) else unquote(local)), uri)
    if uri == "synthetic" or uri.startswith("synthetic:"):
        return Target("synthetic", uri)
    if match := re.fullmatch(r"(?:/dev/video)?(\d+)", os.path.realpath(uri) if _is_device(uri) else uri):
        return Target("camera", str(int(match[1])))
    if " ! " in uri:
        return Target("pipeline", uri)
    if "://" in uri:
        return Target("stream", uri)
    return _file(_expanded(Path(uri)), uri)


def _is_device(uri: str) -> bool:
    """Tell whether a path is a device, such as /dev/video0 or a link to it in /dev/v4l/by-id."""
    return _exists(uri) and Path(uri).is_char_device()


def _exists(path: str | Path) -> bool:
    """Tell whether a path exists; what cannot be a path, such as a long pipeline, does not."""
    try:
        return str(path) != "" and Path(path).exists()
    except (OSError, ValueError):
        return False


def _file(path: Path, uri: str) -> Target:
    if not _exists(path):
        name = shown(uri) if _LIKE_ADDRESS.match(uri) else uri  # an address with a slash too few may hold a password
        raise SourceError(
            f"there is no file or folder {name}: give one that exists, a camera number such as 0, "
            "an rtsp:// address, or 'synthetic'"
        )
    return Target("pictures" if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES else "file", str(path))


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
        # OpenCV 4.10 to 4.12 has no cv2.utils.logging, and OpenCV 5 no cv2.setLogLevel; 0 is silent in both places.
        place = getattr(cv2.utils, "logging", cv2)
        if hasattr(place, "setLogLevel"):
            place.setLogLevel(0)
