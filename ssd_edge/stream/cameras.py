"""Sources of live frames: cameras, network streams, and a synthetic camera."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import cv2

from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import video_devices
from ssd_edge.machine.host import this_host
from ssd_edge.stream.files import bgr, frame_rate
from ssd_edge.stream.frames import Frame, Pacer, Source
from ssd_edge.stream.video_file import VideoSource

CAMERA_PATIENCE = 10.0
"""Seconds after which a camera that gives no more frames is given up."""

_TIMEOUT_MS = 5000  # limit for opening and for reading a network stream; OpenCV's default is 30 s
_FIRST_DELAY, _LAST_DELAY = 0.5, 10.0  # seconds between attempts to reconnect


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


class LiveSource(Source):
    """A camera or network stream; when it gives no more frames, it is opened again, at growing intervals.

    Args:
        name: name for people.
        connect: opens the camera or stream.
        lost: error sentence for when it gives no frames.
        patience: seconds without a frame after which to give up; None for never, since a camera may come back any time.

    Raises:
        SourceError: the source gives no frame at all.
    """

    live = True

    def __init__(
        self, name: str, connect: Callable[[], cv2.VideoCapture], lost: str, patience: float | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self._connect, self._lost, self._patience = connect, lost, patience
        self._capture = connect()
        self._pending = self._grab()
        if self._pending is None:
            self._capture.release()
            raise SourceError(lost)
        self.fps = frame_rate(self._capture)
        self._opened = self._pending.captured
        self._index = 0

    def read(self) -> Frame | None:
        """Wait for the next frame, and reconnect as often as necessary.

        Raises:
            SourceError: there was no frame for ``patience`` seconds.
        """
        frame, self._pending = self._pending or self._grab(), None
        if frame is None:
            frame = self._reconnect()
        if frame is None:
            return None
        index, self._index = self._index, self._index + 1
        return Frame(frame.pixels, index, frame.captured, frame.captured - self._opened, took=frame.took)

    def _grab(self) -> Frame | None:
        """Grab a frame, and take the time of its arrival before decoding it; None if there is no frame."""
        if self._stopping.is_set() or not self._capture.grab():
            return None
        captured = monotonic()
        ok, image = self._capture.retrieve()
        if not ok or image is None or image.size == 0:
            return None
        return Frame(bgr(image), 0, captured, took=monotonic() - captured)

    def _reconnect(self) -> Frame | None:
        silent_since, delay = monotonic(), _FIRST_DELAY
        while not self._stopping.is_set():
            if self._patience is not None and monotonic() - silent_since > self._patience:
                raise SourceError(self._lost)
            self._capture.release()
            self._capture = self._connect()
            if frame := self._grab():
                self.reconnects += 1
                return frame
            self._stopping.wait(delay)
            delay = min(2 * delay, _LAST_DELAY)
        return None

    def close(self) -> None:
        """Release the camera."""
        super().close()
        self._capture.release()


def camera(number: int, size: tuple[int, int] | None, fps: float | None) -> Source:
    """Open camera ``number``, and ask it for (width, height) and a frame rate if these are given.

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

    def connect() -> cv2.VideoCapture:
        capture = cv2.VideoCapture(number)
        if size is not None:
            # Above VGA, USB 2 is too slow for uncompressed frames at full rate.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        if fps is not None:
            capture.set(cv2.CAP_PROP_FPS, fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

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


def pipeline(text: str) -> Source:
    """Open a GStreamer pipeline that ends in ``appsink``, such as a Jetson's CSI camera.

    Raises:
        SourceError: OpenCV has no GStreamer, or the pipeline gives no frames.
    """
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            "this OpenCV was built without GStreamer, so it cannot run a pipeline: use the device's own OpenCV"
        )
    lost = f"the GStreamer pipeline gives no frames; try it with gst-launch-1.0: {text}"
    return LiveSource("GStreamer pipeline", lambda: cv2.VideoCapture(text, cv2.CAP_GSTREAMER), lost)


def network(address: str) -> Source:
    """Open an ``rtsp://`` or ``http://`` stream; a file on a web server is read as a recording.

    Raises:
        SourceError: the stream gives no frames.
    """

    def connect() -> cv2.VideoCapture:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)

    shown = re.sub(r"//[^/@]*@", "//", address)  # a camera's password does not belong in logs
    lost = f"no frames come from {shown}: check the address, the user name and that the camera can be reached"
    first = connect()
    if address.startswith("http") and first.get(cv2.CAP_PROP_FRAME_COUNT) > 0:
        first.release()
        return VideoSource(address, shown)
    opened = [first]  # used again, since many cameras allow only one connection
    return LiveSource(shown, lambda: opened.pop() if opened else connect(), lost)
