"""Connection to a camera or stream by OpenCV, whose frames are written where the detector reads them."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.pixels import Pixels, RawFrame, packed
from ssd_edge.stream.files import frame_rate
from ssd_edge.stream.live import Taken


class OpenCvConnection:
    """An open ``cv2.VideoCapture``; see ``live.Connection``.

    Args:
        capture: what OpenCV opened.
        reader: gives the memory that frames are decoded into.
    """

    live = True

    def __init__(self, capture: cv2.VideoCapture, reader: Reader) -> None:
        self._capture, self._reader = capture, reader
        self._shape: tuple[int, ...] | None = None
        self.fps = frame_rate(capture)

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        """Grab a frame, and take the time of its arrival before decoding it; see ``live.Connection``."""
        if not self._capture.grab():
            return None
        captured = monotonic()
        image = self._retrieved()
        if image is None:
            return None
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        return Taken(recognised(image, height), captured, monotonic() - captured)

    def release(self) -> None:
        """Close the camera."""
        self._capture.release()

    def _retrieved(self) -> npt.NDArray[np.uint8] | None:
        """Decode the frame into the reader's memory; OpenCV makes an array of its own where the shape has changed."""
        if self._shape is None:
            ok, image = self._capture.retrieve()
        else:
            size = int(np.prod(self._shape))
            ok, image = self._capture.retrieve(self._reader.memory(size)[:size].reshape(self._shape))
        if not ok or image is None or image.size == 0:
            return None
        array = np.asarray(image, np.uint8)
        self._shape = array.shape
        return array


def recognised(image: npt.NDArray[np.uint8], height: int) -> Pixels:
    """Tell what an array from OpenCV is, by its channels and the height that was agreed on with the camera.

    GStreamer hands over NV12 and I420 as grey arrays of one and a half times the height, so a shape alone says nothing.

    Args:
        image: (rows, columns) or (rows, columns, channels) uint8.
        height: the frame's height in pixels.

    Raises:
        SourceError: it is in a form that cannot be told from others.
    """
    channels = image.shape[2] if image.ndim == 3 else 1
    if channels == 3:
        return image
    if channels in {1, 4} and image.shape[0] == height:
        pixel_format = "GRAY8" if channels == 1 else "BGRx"
        flat = np.ascontiguousarray(image).reshape(-1)
        return RawFrame(flat, packed(pixel_format, (image.shape[0], image.shape[1])))
    raise SourceError(
        f"OpenCV gives frames of {height} rows as arrays of shape {image.shape}, and not which format they have: end "
        "the pipeline in video/x-raw,format=BGR ! appsink, or install GStreamer for Python: "
        "sudo apt install python3-gi gir1.2-gst-plugins-base-1.0"
    )
