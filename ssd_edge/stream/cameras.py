"""Sources of live frames: cameras, network streams, and a synthetic camera."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from time import monotonic

import cv2

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import INSTALL_GSTREAMER, video_devices
from ssd_edge.machine.host import this_host
from ssd_edge.stream import gstreamer
from ssd_edge.stream.frames import Frame, Pacer, Source
from ssd_edge.stream.gstreamer import GStreamerConnection
from ssd_edge.stream.live import LiveSource
from ssd_edge.stream.opencv import OpenCvConnection
from ssd_edge.stream.video_file import VideoSource

CAMERA_PATIENCE = 10.0
"""Seconds after which a camera that gives no more frames is given up."""

_TIMEOUT_MS = 5000  # limit for opening and for reading a network stream; OpenCV's default is 30 s


class SyntheticSource(Source):
    """The rendered conveyor as a camera.

    Args:
        seed: random seed of belt, light and parts.
        size: (width, height).
        fps: frames per second.
        realtime: whether to wait for each frame's time; otherwise frames are drawn as fast as they are read.
    """

    def __init__(self, seed: int, size: tuple[int, int], fps: float, realtime: bool) -> None:
        super().__init__()
        from ssd_edge.data.synthetic import Conveyor

        self.name, self.fps, self.live = f"synthetic:{seed}", fps, realtime
        try:
            self._conveyor = Conveyor(seed, size, fps=fps)
        except ValueError as error:
            raise SourceError(f"cannot draw the synthetic camera: {error}") from None
        self._pacer = Pacer(fps)
        self._index = 0

    def read(self) -> Frame | None:
        """Draw the next view of the belt, when it is due."""
        if self._stopping.is_set() or (self.live and not self._pacer.wait(self._stopping)):
            return None
        began = monotonic()
        index, self._index = self._index, self._index + 1
        image, _ = self._conveyor.frame(index)
        now = monotonic()
        return Frame(image, index, now, index / (self.fps or 1), took=now - began)


def camera(number: int, size: tuple[int, int] | None, fps: float | None, reader: Reader) -> Source:
    """Open camera ``number``, and ask it for (width, height) and a frame rate if these are given.

    Where a Jetson's hardware can decode pictures of that size, GStreamer does it there; else OpenCV reads the camera.

    Raises:
        SourceError: there is no such camera, or it gives no frames; the sentence lists the existing cameras.
    """
    devices = [f"/dev/{device}" for device in video_devices(this_host())]
    hint = f"there are {', '.join(devices)}" if devices else "plug one in, or try 'synthetic'"
    lost = f"camera {number} gives no frames: is it connected, and not in use elsewhere? ({hint})"
    if sys.platform.startswith("linux") and f"/dev/video{number}" not in devices:
        raise SourceError(f"there is no camera {number}: {hint}")
    if refused := _refused(number):
        raise SourceError(refused)

    if size is not None and gstreamer.decodes_in_hardware():
        text = gstreamer.camera_pipeline(number, size, fps)
        name = f"camera {number}, decoded in hardware"
        return LiveSource(name, lambda: GStreamerConnection(text, reader), lost, CAMERA_PATIENCE)

    def connect() -> OpenCvConnection:
        # Named, since an OpenCV with GStreamer takes that first, which ignores format, size and rate.
        linux = sys.platform.startswith("linux")
        capture = cv2.VideoCapture(number, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
        if size is not None:
            # Above VGA, USB 2 is too slow for uncompressed frames at full rate.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return OpenCvConnection(capture, reader)

    return LiveSource(f"camera {number}", connect, lost, CAMERA_PATIENCE)


def _refused(number: int) -> str:
    """Say why this user may not use a camera; empty where the user may."""
    device = Path(f"/dev/video{number}")
    if not device.exists() or os.access(device, os.R_OK | os.W_OK):
        return ""
    try:
        group = device.group()
    except (KeyError, OSError):
        group = "video"
    return (
        f"this user may not use {device}: add the user to its group (sudo usermod -aG {group} $USER) and log in again"
    )


def pipeline(text: str, reader: Reader) -> Source:
    """Open a GStreamer pipeline that ends in ``appsink``, such as a Jetson's CSI camera.

    PyGObject runs it if it is installed, so that frames keep their form; else an OpenCV that was built with GStreamer.

    Raises:
        SourceError: neither of them can, or the pipeline is wrong or gives no frames.
    """
    lost = f"the GStreamer pipeline gives no frames; try it with gst-launch-1.0: {text}"
    if gstreamer.libraries() is not None:
        return LiveSource("GStreamer pipeline", lambda: GStreamerConnection(text, reader), lost)
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            "this Python has no GStreamer, and this OpenCV was built without GStreamer, so neither can run a pipeline: "
            f"{INSTALL_GSTREAMER}, in an environment that sees the system's packages (--system-site-packages)"
        )

    def connect() -> OpenCvConnection:
        return OpenCvConnection(cv2.VideoCapture(text, cv2.CAP_GSTREAMER), reader)

    return LiveSource("GStreamer pipeline by OpenCV", connect, lost)


def network(address: str, reader: Reader) -> Source:
    """Open an ``rtsp://`` or ``http://`` stream; a file on a web server is read as a recording.

    Raises:
        SourceError: the stream gives no frames.
    """
    shown = re.sub(r"//[^/@]*@", "//", address)  # a camera's password does not belong in logs
    lost = f"no frames come from {shown}: check the address, the user name and that the camera can be reached"
    if address.startswith("rtsp") and '"' not in address and gstreamer.decodes_in_hardware():
        text = gstreamer.network_pipeline(address)
        return LiveSource(f"{shown}, decoded in hardware", lambda: GStreamerConnection(text, reader), lost)

    def connect() -> cv2.VideoCapture:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)

    first = connect()
    if address.startswith("http") and first.get(cv2.CAP_PROP_FRAME_COUNT) > 0:
        first.release()
        return VideoSource(address, shown)
    opened = [first]  # used again, since many cameras allow only one connection
    return LiveSource(shown, lambda: OpenCvConnection(opened.pop() if opened else connect(), reader), lost)
