"""Recorded cameras and streams, at the edge of the libraries that open them: OpenCV's, and a Jetson's GStreamer."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rehearsal.machines import Machine
    from rehearsal.setting import Setting
    from ssd_edge.detector import Reader
    from ssd_edge.stream.live import Taken

FRAMES = 30
"""Number of frames after which someone presses Ctrl-C; a camera's run has no other end."""
RATE = 30.0
PLAIN = ("rtspsrc", "rtph264depay", "h264parse", "decodebin", "v4l2src", "videoconvert", "appsink")
"""Elements that GStreamer has everywhere."""


def install(setting: Setting, machine: Machine) -> None:
    """Put the machine's cameras in place of those of this computer."""
    import cv2

    from ssd_edge.stream import gstreamer

    show = Show(Path(setting.photos))
    cv2.VideoCapture = lambda *arguments: Capture(show)
    elements = {*PLAIN, *machine.elements} if setting.gstreamer else set()
    library = SimpleNamespace(ElementFactory=SimpleNamespace(find=lambda name: True if name in elements else None))
    gstreamer.libraries = lambda: (library, None) if elements else None
    gstreamer.GStreamerConnection = lambda text, reader: Pipeline(text, reader, elements, show)


class Show:
    """What a camera sees: pictures of a folder in turn, at the camera's rate, until Ctrl-C."""

    def __init__(self, folder: Path) -> None:
        import cv2

        self.pictures = [cv2.imread(str(path)) for path in sorted(folder.iterdir())]
        self._numbers = count()

    def next(self) -> np.ndarray:
        """Wait for the next picture, BGR."""
        from rehearsal.process import interrupt

        number = next(self._numbers)
        # Again and again: in a function that the emulated driver calls, Python drops the exception.
        if number and number % FRAMES == 0 and "run" in sys.argv:
            interrupt()
        sleep(1 / RATE)
        return self.pictures[number % len(self.pictures)]


class Capture:
    """See ``cv2.VideoCapture``."""

    def __init__(self, show: Show) -> None:
        self._show, self._picture = show, show.pictures[0]

    def isOpened(self) -> bool:  # noqa: N802 - its name
        """Tell that the camera is open."""
        return True

    def set(self, name: int, value: float) -> bool:
        """Accept a setting."""
        return True

    def get(self, name: int) -> float:
        """Return a property; 0 for an unknown one."""
        import cv2

        height, width = self._picture.shape[:2]
        known = {cv2.CAP_PROP_FRAME_HEIGHT: height, cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FPS: RATE}
        return float(known.get(name, 0))

    def grab(self) -> bool:
        """Wait for the next picture."""
        self._picture = self._show.next()
        return True

    def retrieve(self, image: np.ndarray | None = None) -> tuple[bool, np.ndarray]:
        """Return the picture that was grabbed, or copy it to ``image``."""
        if image is None:
            return True, self._picture.copy()
        image[:] = self._picture
        return True, image

    def read(self) -> tuple[bool, np.ndarray]:
        """Grab and retrieve."""
        return self.grab(), self._picture.copy()

    def release(self) -> None:
        """Do nothing."""


class Pipeline:
    """See ``ssd_edge.stream.gstreamer.GStreamerConnection``; the elements before appsink give recorded pictures."""

    fps: float | None = RATE
    live = True
    unreadable = 0

    def __init__(self, text: str, reader: Reader, elements: set[str], show: Show) -> None:
        from ssd_edge.errors import SourceError
        from ssd_edge.stream.gstreamer import _sentence

        parts = [part.split() for part in text.split(" ! ")]
        for part in parts:
            if "/" not in part[0] and part[0] not in elements:
                raise SourceError(_sentence(f'no element "{part[0]}"'))
        if parts[-1][0] != "appsink":
            raise SourceError(f"the pipeline must end in ! appsink, but ends in {parts[-1][0]!r}")
        chosen = "decodebin" in text and "nvv4l2decoder" in elements
        self.way = "GStreamer" + (", decoded in hardware" if chosen or "nvv4l2decoder" in text else "")
        agreed = re.findall(r"video/x-raw,format=(\w+)", text)
        self._format = agreed[-1] if agreed and agreed[-1] in reader.reads else "BGR"
        self._reader, self._show = reader, show

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        """See ``live.Connection``."""
        from ssd_edge.pixels import RawFrame, packed
        from ssd_edge.stream.live import Taken

        if stopping():
            return None
        picture = self._show.next()
        captured = monotonic()
        if self._format == "BGR":
            return Taken(picture.copy(), captured, 0.0)
        layout = packed(self._format, picture.shape[:2])
        memory = self._reader.memory(layout.nbytes)
        memory[: layout.nbytes] = in_nv12(picture)
        return Taken(RawFrame(memory, layout), captured, 0.0)

    def release(self) -> None:
        """Do nothing."""


def in_nv12(picture: Any) -> np.ndarray:
    """Convert a picture of even height and width, BGR, as a camera does."""
    import cv2

    height, width = picture.shape[:2]
    planar = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    luma, chroma = planar[: height * width], planar[height * width :].reshape(2, -1)
    return np.concatenate([luma, chroma.T.reshape(-1)])
