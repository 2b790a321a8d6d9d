"""Connection to a camera or stream by OpenCV, whose frames are written where the detector reads them."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import INSTALL_GSTREAMER
from ssd_edge.pixels import Pixels, RawFrame, packed
from ssd_edge.stream.files import frame_rate
from ssd_edge.stream.live import Taken

_PLAUSIBLE = 60.0  # seconds; a larger age shows that the driver uses another clock
_GIVE_UP = 30  # frames that cannot be decoded, one after another, after which a camera is opened again


class OpenCvConnection:
    """An open ``cv2.VideoCapture``; see ``live.Connection``.

    Args:
        capture: what OpenCV opened.
        reader: gives the memory that frames are decoded into.
        timed: whether it is a camera of V4L2, which tells when the driver had a frame.
        refused: why its frames are not wanted, as a sentence; empty if they are.
    """

    live, way = True, "OpenCV"
    unreadable, ended = 0, ""

    def __init__(self, capture: cv2.VideoCapture, reader: Reader, timed: bool = False, refused: str = "") -> None:
        self._capture, self._reader, self._refused = capture, reader, refused
        self._shape: tuple[int, ...] | None = None
        self._timed = timed
        self.fps = frame_rate(capture)

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        """Grab a frame, and take the time of its arrival before decoding it; see ``live.Connection``.

        A frame that cannot be decoded, as where a USB cable loses bytes, is left out and counted.
        """
        if self._refused:
            raise SourceError(self._refused)
        for _ in range(_GIVE_UP):
            if stopping() or not self._capture.grab():
                return None
            began = monotonic()
            image = self._retrieved()
            if image is not None:
                height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
                return Taken(recognised(image, height), self._captured(began), monotonic() - began)
            self.unreadable += 1
        return None

    def _captured(self, grabbed: float) -> float:
        """Return when the driver filled the buffer, by the clock of ``monotonic``; else the time of the grab."""
        if not self._timed:
            return grabbed
        told = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return told if 0 <= grabbed - told < _PLAUSIBLE else grabbed

    def release(self) -> None:
        """Close the camera."""
        self._capture.release()

    def _retrieved(self) -> npt.NDArray[Any] | None:
        """Decode the frame into the reader's memory; OpenCV makes an array of its own where the shape has changed."""
        if self._shape is None:
            ok, image = self._capture.retrieve()
        else:
            size = int(np.prod(self._shape))
            ok, image = self._capture.retrieve(self._reader.memory(size)[:size].reshape(self._shape))
        if not ok or image is None or image.size == 0:
            return None
        self._shape = image.shape if image.dtype == np.uint8 else None
        return np.asarray(image)


def recognised(image: npt.NDArray[Any], height: int) -> Pixels:
    """Tell what an array from OpenCV is, by its channels and the height that was agreed on with the camera.

    OpenCV's GStreamer hands over NV12 and I420 as grey arrays of one and a half times the height, and BGRx
    like RGBx, so a shape alone says nothing.

    Args:
        image: (rows, columns) or (rows, columns, channels).
        height: the frame's height in pixels.

    Raises:
        SourceError: it is in a form that cannot be told from others.
    """
    channels = image.shape[2] if image.ndim == 3 else 1
    if channels == 3 and image.dtype == np.uint8:
        return image
    if channels == 1 and image.dtype == np.uint8 and image.shape[0] == height:
        return RawFrame(np.ascontiguousarray(image).reshape(-1), packed("GRAY8", (image.shape[0], image.shape[1])))
    raise SourceError(
        f"OpenCV gives frames of {height} rows as {image.dtype} arrays of shape {image.shape}, and not which format "
        "they have: end the pipeline in video/x-raw,format=BGR ! appsink, or install GStreamer for Python: "
        f"{INSTALL_GSTREAMER}"
    )
