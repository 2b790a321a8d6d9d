"""The pages' GStreamer pipelines, run by GStreamer itself, with software in place of elements that need a device."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rehearsal.machines import JETSON, RTX
from rehearsal.pages import commands, fits
from rehearsal.play import Result, last_line
from rehearsal.process import ROOT

TITLE = "GStreamer of this computer"
REPLACED = (
    ("nvarguscamerasrc sensor-id=0", "videotestsrc is-live=true"),
    ("video/x-raw(memory:NVMM)", "video/x-raw"),
    ("rtspsrc location=rtsp://camera3/stream latency=100", "filesrc location=clip.mp4 ! qtdemux ! rtph264pay"),
    ("nvv4l2decoder", "avdec_h264"),
    ("nvvidconv", "videoconvert"),
    ("v4l2src device=/dev/video0", "videotestsrc is-live=true ! jpegenc"),
)
"""Elements that need a device, and what stands in their place."""
FRAMES = 5
_PYGOBJECT = Path("/usr/lib/python3/dist-packages/gi")


def play_pipelines(folder: Path) -> Iterator[Result]:
    """Run each pipeline of the pages in a folder with parts.onnx.

    Raises:
        FileNotFoundError: there is no GStreamer for this Python.
    """
    path = _pygobject(folder)
    _write_clip(folder / "clip.mp4")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(path)))}
    code = "from ssd_edge.cli.main import main; main()"
    for text in pipelines():
        played, left_out = substituted(text)
        command = [sys.executable, "-c", code, "run", "parts.onnx", "--camera", played, "--frames", str(FRAMES)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        wrong = f"exit code {done.returncode}: {last_line(done.stderr)}" if done.returncode else ""
        if not wrong and not fits(f"{FRAMES} frames of …", done.stderr):
            wrong = f"it prints {last_line(done.stderr)!r}"
        yield Result(TITLE, played, "run", wrong, f"{left_out}, which this computer lacks" if left_out else "")


def pipelines() -> list[str]:
    """Find the pipelines of both pages."""
    texts = [command.text for page in (JETSON, RTX) for command in commands((ROOT / page).read_text())]
    return [word for text in texts for word in shlex.split(text) if " ! " in word]


def substituted(text: str) -> tuple[str, str]:
    """Return a pipeline that this computer can run, and the elements left out of it."""
    for element, instead in REPLACED:
        text = text.replace(element, instead)
    if re.search(r"\bh264parse\b", text) and not _has("h264parse"):
        return text.replace("h264parse ! ", ""), "h264parse"
    return text, ""


def _has(element: str) -> bool:
    done = subprocess.run(["gst-inspect-1.0", "--exists", element], capture_output=True, check=False)
    return done.returncode == 0


def _pygobject(folder: Path) -> Path:
    """Return a folder that gives this Python the system's PyGObject, and nothing else of it."""
    built_for = f"_gi.cpython-{sys.version_info[0]}{sys.version_info[1]}-*"
    if not any(_PYGOBJECT.glob(built_for)):
        raise FileNotFoundError(f"there is no PyGObject for this Python: {_PYGOBJECT} is missing or for another")
    path = folder / "pygobject"
    path.mkdir(exist_ok=True)
    (path / "gi").symlink_to(_PYGOBJECT)
    return path


def _write_clip(path: Path) -> None:
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(3 * FRAMES):
            picture = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 8 * number, np.uint8), "bgr24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
