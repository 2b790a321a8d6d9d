"""The way to a source that is taken unless the user names one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.stream import by_gstreamer, by_opencv, by_pyav, gstreamer
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.cameras import Opener, checked
from ssd_edge.stream.frames import Source
from ssd_edge.stream.gstreamer_file import HardwareVideo
from ssd_edge.stream.pyav_live import WAY
from ssd_edge.stream.video_file import VideoSource


def camera(number: str, mode: CameraMode, reader: Reader) -> Source:
    """Open a camera: its JPEG pictures are decoded in a Jetson's hardware, all else is read by OpenCV.

    Raises:
        SourceError: there is no such camera, it has no such mode, or it gives no frames.
    """
    mode = checked(number, mode)
    if mode.pixel_format == "mjpg" and gstreamer.decodes_in_hardware():
        return by_gstreamer.camera(number, mode, reader)
    return by_opencv.camera(number, mode, reader)


def network(address: str, mode: CameraMode, reader: Reader) -> Source:
    """Open a stream: RTSP in a Jetson's hardware, else by PyAV, or by GStreamer where PyAV does not notice all losses.

    A file on a web server is read as a recording.

    Raises:
        SourceError: the stream gives no frames.
    """
    if address.startswith("rtsp") and gstreamer.decodes_in_hardware():
        return by_gstreamer.network(address, mode, reader)
    source = by_pyav.network(address, mode, reader)
    if source.way == WAY or not gstreamer.has_elements("rtspsrc", "decodebin"):
        return source
    source.close()
    try:
        return by_gstreamer.network(address, mode, reader)
    except SourceError:  # it lacks a decoder
        return by_pyav.network(address, mode, reader)


def pipeline(text: str, mode: CameraMode, reader: Reader) -> Source:
    """Run a pipeline by PyGObject, so that frames keep their form; without it, by OpenCV.

    Raises:
        SourceError: neither can, or the pipeline is wrong or gives no frames.
    """
    if gstreamer.libraries() is None:
        return by_opencv.pipeline(text, mode, reader)
    return by_gstreamer.pipeline(text, mode, reader)


def file(path: str, mode: CameraMode, reader: Reader) -> Source:
    """Read a video file: in a Jetson's hardware if that decodes it, else by PyAV.

    Raises:
        SourceError: the file holds no frame that can be decoded.
    """
    if not gstreamer.decodes_in_hardware():
        return VideoSource(Path(path))
    try:
        return HardwareVideo(Path(path), reader)
    except SourceError as error:
        source = VideoSource(Path(path))
        source.way += f", since in hardware {error}"
        return source


OPENS: Mapping[str, Opener] = {"camera": camera, "stream": network, "pipeline": pipeline, "file": file}
"""What opens each kind of source."""
