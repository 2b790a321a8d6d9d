"""Selftest section that measures each way to a frame on this device: frames a second, and the processor's share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from ssd_edge.data.synthetic import Conveyor
from ssd_edge.detections import Detections
from ssd_edge.detector import Reader
from ssd_edge.engines.selftest.sections import FailedError, Setting
from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import INSTALL_GSTREAMER, video_devices
from ssd_edge.machine.host import this_host
from ssd_edge.pixels import FORMATS
from ssd_edge.stream import gstreamer
from ssd_edge.stream.cameras import camera, pipeline
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.stream.video import Video
from ssd_edge.stream.video_file import VideoSource

_SIZE = (1280, 720)
_CLIP = 60  # frames
_TEST = "videotestsrc ! video/x-raw,format={},width=1280,height=720 ! appsink"


class _Everything(Reader):
    """Reader of every format, as the GPU's detector is, so that nothing is converted for it."""

    reads = tuple(FORMATS)


def capture(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Read each camera, a clip and GStreamer's test source, in each way that exists here; see ``Work``."""
    clip = _clip(setting.folder / "clip.mp4")
    details: dict[str, Any] = {}
    failed = {}
    for name, opened in _ways(clip).items():
        try:
            details[name] = _measured(opened, 1.0 if setting.quick else 4.0)
        except SourceError as error:
            failed[name] = details[name] = str(error)
    if failed:
        raise FailedError("; ".join(f"{name}: {sentence}" for name, sentence in failed.items()), details)
    shown = (f"{name} {way['fps']:.0f} FPS by {way['cpu_percent']:.0f} % of a core" for name, way in details.items())
    return ", ".join(shown) + _left_out(), details


def _ways(clip: Path) -> dict[str, Callable[[], Source]]:
    """List the ways by name. One that is lacking is left out; one that exists has to give frames."""
    reader, ways = _Everything(), dict[str, Callable[[], Source]]()
    for device in video_devices(this_host()):
        number = int(device.removeprefix("video"))
        ways[f"camera {number}"] = partial(camera, number, None, None, reader)
        if gstreamer.decodes_in_hardware():
            text = gstreamer.camera_pipeline(number, _SIZE, None)
            ways[f"camera {number}, JPEG in hardware"] = partial(pipeline, text, reader)
    ways["clip by PyAV"] = partial(VideoSource, clip)
    if gstreamer.has_elements("filesrc", "decodebin", "qtdemux"):
        text = f"filesrc location={clip} ! decodebin ! appsink"
        ways["clip by GStreamer"] = partial(pipeline, text, reader)
    if gstreamer.has_elements("videotestsrc", "videoconvert"):
        for name in ("NV12", "YUY2", "BGRx"):
            ways[f"test picture in {name}"] = partial(pipeline, _TEST.format(name), reader)
    return ways


def _left_out() -> str:
    if gstreamer.libraries() is None:
        return f"; without GStreamer, which this Python does not see: {INSTALL_GSTREAMER}"
    return ""


def _measured(opened: Callable[[], Source], seconds: float) -> dict[str, Any]:
    """Read a source for some seconds, or to its end."""
    with opened() as source:
        began, worked = perf_counter(), process_time()
        number, taken = 0, 0.0
        while taken < seconds and source.read() is not None:
            number, taken = number + 1, perf_counter() - began
        busy = process_time() - worked
        if number < 2:
            raise SourceError(f"{source.name} gives {number} frames in all")
        return {"fps": number / taken, "cpu_percent": 100 * busy / taken, "frames": number, "source": source.name}


def _clip(path: Path) -> Path:
    """Draw a clip of the conveyor."""
    conveyor, video = Conveyor(1, _SIZE, fps=30), Video(path, ())
    for number in range(_CLIP):
        video.write(Frame(conveyor.frame(number)[0], number, 0.0, number / 30), Detections.empty())
    video.close()
    return path
