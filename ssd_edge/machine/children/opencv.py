"""Find which OpenCV Python imports, and what it was built with."""

from __future__ import annotations

import re
from typing import Any

from ssd_edge.machine.children import tell


def answer() -> dict[str, Any]:
    """Describe OpenCV's abilities.

    Returns:
        ``version`` and ``file``; ``gstreamer``, ``ffmpeg`` and ``v4l2``: whether it can read through them; ``gui``: the
        toolkit of its windows, empty if none. Or ``missing``: why it cannot be imported.
    """
    try:
        import cv2
    except ImportError as error:
        return {"missing": str(error)}
    built: str = cv2.getBuildInformation()
    has = cv2.videoio_registry.hasBackend  # lists of back ends also contain plugins that cannot be loaded
    # GUI:                           QT5
    gui = re.search(r"^ *GUI: +(\S+)", built, re.MULTILINE)
    return {
        "version": cv2.__version__,
        "file": cv2.__file__,
        "gstreamer": bool(has(cv2.CAP_GSTREAMER)),
        "ffmpeg": bool(has(cv2.CAP_FFMPEG)),
        "v4l2": bool(has(cv2.CAP_V4L2)),
        "gui": "" if gui is None or gui[1] == "NONE" else gui[1],
    }


if __name__ == "__main__":
    tell(answer)
