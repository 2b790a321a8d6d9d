"""Cameras, network streams, pipelines and files read by GStreamer, in a Jetson's hardware where it has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.stream import gstreamer
from ssd_edge.stream.addresses import shown
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.cameras import (
    Opener,
    checked,
    name_of,
    no_frames_from,
    no_frames_of,
    no_frames_through,
)
from ssd_edge.stream.frames import Source
from ssd_edge.stream.gstreamer import GStreamerConnection
from ssd_edge.stream.gstreamer_file import GStreamerVideo, HardwareVideo
from ssd_edge.stream.live import LiveSource

_FROM_HARDWARE = "nvvidconv ! video/x-raw,format=NV12 ! appsink"


def camera(number: str, mode: CameraMode, reader: Reader) -> Source:
    """Open a camera by its number; its JPEG pictures are decoded in hardware where that exists.

    Raises:
        SourceError: there is no such camera, it has no such mode, an element is missing, or it gives no frames.
    """
    mode = checked(number, mode)
    text = camera_pipeline(number, mode, gstreamer.decodes_in_hardware())

    def connect() -> GStreamerConnection:
        return GStreamerConnection(text, reader)

    try:
        return LiveSource(name_of(number, mode), connect, no_frames_of(number))
    except SourceError as error:
        if not str(mode):
            raise
        raise SourceError(f"camera {number} does not give {mode} to GStreamer: {error}") from None


def camera_pipeline(number: str, mode: CameraMode, hardware: bool) -> str:
    """Write the pipeline of a camera.

    Args:
        number: the camera's number.
        mode: what is asked of it.
        hardware: whether JPEG is decoded in a Jetson's hardware.

    Raises:
        SourceError: GStreamer lacks an element for it.
    """
    source = f"v4l2src device=/dev/video{number}"
    if mode.pixel_format == "mjpg":
        _need("v4l2src", "nvv4l2decoder" if hardware else "jpegdec")
        decoder = f"nvv4l2decoder mjpeg=1 ! {_FROM_HARDWARE}" if hardware else "jpegdec ! appsink"
        return f"{source} ! {mode.caps} ! {decoder}"
    _need("v4l2src", "decodebin")
    return f"{source} ! {mode.caps} ! appsink" if mode.caps else f"{source} ! decodebin ! appsink"


def network(address: str, mode: CameraMode, reader: Reader) -> Source:
    """Open an ``rtsp://`` or ``http://`` stream, decoded in hardware where that exists.

    Raises:
        SourceError: an element is missing, or the stream gives no frames.
    """
    hardware, rtsp = gstreamer.decodes_in_hardware(), address.startswith("rtsp")
    _need(*(("rtspsrc", "decodebin") if rtsp else ("uridecodebin",)))
    start = f"rtspsrc location={gstreamer.quoted(address)} latency=100 protocols=tcp ! decodebin"
    if not rtsp:
        start = f'uridecodebin uri={gstreamer.quoted(address)} expose-all-streams=false caps="video/x-raw(ANY)"'
    text = f"{start} ! {_FROM_HARDWARE if hardware else 'appsink'}"
    return LiveSource(shown(address), lambda: GStreamerConnection(text, reader), no_frames_from(address))


def pipeline(text: str, mode: CameraMode, reader: Reader) -> Source:
    """Run a pipeline that ends in ``appsink``.

    Raises:
        SourceError: this Python has no GStreamer, or the pipeline is wrong or gives no frames.
    """
    _need()
    return LiveSource("GStreamer pipeline", lambda: GStreamerConnection(text, reader), no_frames_through(text))


def file(path: str, mode: CameraMode, reader: Reader) -> Source:
    """Read a video file, in hardware where that exists.

    Raises:
        SourceError: an element is missing, or the file holds no frame that can be decoded.
    """
    if gstreamer.decodes_in_hardware():
        try:
            return HardwareVideo(Path(path), reader)
        except SourceError as error:
            source = GStreamerVideo(Path(path), reader)
            source.way += f", since in hardware {error}"
            return source
    return GStreamerVideo(Path(path), reader)


def _need(*elements: str) -> None:
    if missing := gstreamer.lacking(*elements):
        raise SourceError(missing)


OPENS: Mapping[str, Opener] = {"camera": camera, "stream": network, "pipeline": pipeline, "file": file}
"""What GStreamer reads, by kind of source."""
