"""A camera that vanishes and comes back: emulated where OpenCV hands over its frames, since containers have no V4L2."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import numpy.typing as npt

from faults.row import Fault, Row

_VARIABLE = "FAULTS_CAMERA"
_FPS = 15


def vanishes(engine: Path, folder: Path) -> Row:
    """Pull the plug for 12 s."""
    from faults.streams import watched

    plug = folder / "plugged in"
    plug.touch()
    row = watched(
        "USB camera pulled, back after 12 s",
        engine,
        folder,
        "0",
        lambda _: plug.unlink(),
        lambda _: plug.touch(),
        12.0,
        before="from faults.camera import emulate; emulate()",
        environment={_VARIABLE: str(plug)},
        fps=_FPS,
    )
    row.note = "emulated at OpenCV's edge: its reading fails as where a device is gone"
    return row


def emulate() -> None:
    """Replace ``cv2.VideoCapture``, and the list of devices, in the process of ``ssd-edge run``."""
    import cv2

    from ssd_edge.machine import cameras

    cv2.VideoCapture = EmulatedCapture
    cameras.video_devices = lambda host: ["video0"]


class EmulatedCapture:
    """What ``cv2.VideoCapture`` is to this program: a camera that shows the time, and is there while a file is."""

    def __init__(self, number: int, api: int = 0) -> None:
        self._plug, self._due, self._at = Path(os.environ[_VARIABLE]), monotonic(), 0.0
        self._opened = self._plug.exists()

    def isOpened(self) -> bool:  # noqa: N802
        """See OpenCV."""
        return self._opened

    def grab(self) -> bool:
        """Wait for the next frame; fail once the camera is gone, also where it is back: its handle is not."""
        self._due = max(self._due + 1 / _FPS, monotonic())
        sleep(max(0.0, self._due - monotonic()))
        self._opened = self._opened and self._plug.exists()
        self._at = monotonic()
        return self._opened

    def retrieve(self, image: npt.NDArray[np.uint8] | None = None) -> tuple[bool, npt.NDArray[np.uint8] | None]:
        """Draw it."""
        from tests.stream.coded import picture

        if not self._opened:
            return False, None
        drawn = picture()
        if image is None:
            return True, drawn
        image[:] = drawn
        return True, image

    def get(self, what: int) -> float:
        """Tell a property."""
        import cv2

        told: dict[int, Any] = {
            cv2.CAP_PROP_FRAME_HEIGHT: 48,
            cv2.CAP_PROP_FRAME_WIDTH: 480,
            cv2.CAP_PROP_FPS: _FPS,
            cv2.CAP_PROP_POS_MSEC: 1000 * self._at,
        }
        return float(told.get(what, 0))

    def set(self, what: int, value: float) -> bool:
        """Take a property, and do nothing with it."""
        return True

    def release(self) -> None:
        """Close it."""
        self._opened = False


FAULTS: dict[str, Fault] = {"camera-vanishes": vanishes}
