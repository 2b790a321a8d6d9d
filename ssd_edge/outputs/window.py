"""Show annotated frames in a window."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import cv2

from ssd_edge.detections import Detections
from ssd_edge.errors import SinkError
from ssd_edge.machine.display import session_of
from ssd_edge.outputs.draw import annotate
from ssd_edge.outputs.sink import Sink, StopLoop
from ssd_edge.stream.durations import Rate
from ssd_edge.stream.frames import Frame


class Window(Sink):
    """Sink that shows frames in a window; q, Esc or closing it ends the loop.

    Args:
        labels: class names, as in the model's spec.
        title: the window's title.

    Raises:
        SinkError: there is no display.
    """

    loop_thread = True

    def __init__(self, labels: Sequence[str], title: str = "ssd-edge") -> None:
        if not has_display():
            raise SinkError("there is no display to open a window on: use --save-video FILE instead")
        self._labels, self._title = labels, title
        self._rate = Rate()
        # OpenCV's wheels contain Qt without fonts. Qt finds the system's, but gives four warnings for each window.
        os.environ.setdefault("QT_LOGGING_RULES", "qt.*.warning=false;default.warning=false")
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        self._sized = False

    @classmethod
    def opened(cls, target: str, labels: Sequence[str], fps: float | None, *, title: str = "ssd-edge") -> Window:
        """See ``catalogue.open_sink``."""
        return cls(labels, title)

    def write(self, frame: Frame, detections: Detections) -> None:
        """Show a frame."""
        rate = self._rate.tick()
        picture = annotate(frame.image, detections, self._labels, note=f"{rate:.1f} FPS" if rate else "")
        if not self._sized:
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
            self._sized = True
        cv2.imshow(self._title, picture)
        self.idle()

    def idle(self) -> None:
        """Check the keys and the window's close button."""
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27) or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            raise StopLoop

    def close(self) -> None:
        """Close the window."""
        if self._title:
            cv2.destroyWindow(self._title)
        self._title = ""


def has_display() -> bool:
    """Tell whether a window can be opened.

    On Linux this is tried in another process, since without a display Qt aborts instead of raising an error.
    """
    if not sys.platform.startswith("linux"):
        return True
    if not session_of(os.environ):
        return False
    attempt = [sys.executable, "-c", "import cv2; cv2.namedWindow('ssd-edge')"]
    try:
        return subprocess.run(attempt, capture_output=True, timeout=30, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False
