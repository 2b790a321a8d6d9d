"""Cameras and pipelines read by OpenCV.

Its streams are not used: it does not tell when a packet arrived, nor which frames are damaged.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import cv2

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import INSTALL_GSTREAMER
from ssd_edge.stream import gstreamer
from ssd_edge.stream.camera_mode import CAMERA_FORMATS, CameraMode
from ssd_edge.stream.cameras import (
    Opener,
    checked,
    name_of,
    no_frames_of,
    no_frames_through,
)
from ssd_edge.stream.frames import Source
from ssd_edge.stream.live import LiveSource
from ssd_edge.stream.opencv import OpenCvConnection


def camera(number: str, mode: CameraMode, reader: Reader) -> Source:
    """Open a camera by its number.

    Raises:
        SourceError: there is no such camera, it has no such mode, or it gives no frames.
    """
    mode = checked(number, mode)

    def connect() -> OpenCvConnection:
        # Named, since an OpenCV with GStreamer takes that first, which ignores format, size and rate.
        linux = sys.platform.startswith("linux")
        capture = cv2.VideoCapture(int(number), cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
        _ask(capture, mode)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        given = _other_than(capture, mode) if capture.isOpened() else ""
        refused = f"camera {number} gives {given} where {mode} was asked for: ask for what it gives" if given else ""
        return OpenCvConnection(capture, reader, timed=linux, refused=refused)

    return LiveSource(name_of(number, mode), connect, no_frames_of(number))


def _ask(capture: cv2.VideoCapture, mode: CameraMode) -> None:
    if mode.pixel_format is not None:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*CAMERA_FORMATS[mode.pixel_format].fourcc))
    if mode.size is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, mode.size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, mode.size[1])
    if mode.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, mode.fps)


def _other_than(capture: cv2.VideoCapture, mode: CameraMode) -> str:
    """Say what the driver chose if that is not the mode, since it takes the nearest without a word; else empty."""
    number = int(capture.get(cv2.CAP_PROP_FOURCC))
    fourcc = number.to_bytes(4, "little", signed=number < 0).decode("ascii", "replace").strip("\0 ")
    size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    fps = capture.get(cv2.CAP_PROP_FPS)
    # Systems other than Linux name formats otherwise, or not at all.
    other_format = mode.pixel_format is not None and sys.platform.startswith("linux")
    wrong = other_format and fourcc != CAMERA_FORMATS[mode.pixel_format or "mjpg"].fourcc
    wrong = wrong or (mode.size is not None and size != mode.size)
    wrong = wrong or (mode.fps is not None and fps > 0 and abs(fps - mode.fps) > _RATE_SLACK * mode.fps)
    return f"{fourcc} {size[0]}×{size[1]} at {fps:g} FPS".strip() if wrong else ""


_RATE_SLACK = 0.02  # 29.97 counts as 30


def pipeline(text: str, mode: CameraMode, reader: Reader) -> Source:
    """Run a GStreamer pipeline in an OpenCV that was built with GStreamer.

    Raises:
        SourceError: this OpenCV was not, or the pipeline is wrong or gives no frames.
    """
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        if gstreamer.libraries() is not None:
            raise SourceError("this OpenCV was built without GStreamer, which this Python has: --capture gstreamer")
        raise SourceError(
            "this Python has no GStreamer, and this OpenCV was built without GStreamer, so neither can run a pipeline: "
            f"{INSTALL_GSTREAMER}, in an environment that sees the system's packages (--system-site-packages)"
        )

    def connect() -> OpenCvConnection:
        return OpenCvConnection(cv2.VideoCapture(text, cv2.CAP_GSTREAMER), reader)

    return LiveSource("GStreamer pipeline", connect, no_frames_through(text))


OPENS: Mapping[str, Opener] = {"camera": camera, "pipeline": pipeline}
"""What OpenCV reads, by kind of source."""
