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
from ssd_edge.machine.cameras import csi_pipeline, kinds_of_cameras, listed_formats
from ssd_edge.machine.host import Host, this_host
from ssd_edge.outputs.video import Video
from ssd_edge.pixels import FORMATS
from ssd_edge.stream import gstreamer
from ssd_edge.stream.by_gstreamer import camera_pipeline
from ssd_edge.stream.camera_mode import CAMERA_FORMATS, CameraMode
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.stream.gstreamer_file import GStreamerVideo, HardwareVideo
from ssd_edge.stream.sources import open_source

_SIZE = (1280, 720)
_LARGEST = (1920, 1080)
"""Limit of a camera's size: what an edge device is likely to be given."""

_CLIP, _DRAWN = 300, 30  # frames of the clip, and those of them that are drawn
_SECONDS, _QUICK = 5.0, 1.0  # of reading a source that does not end
_TEST = "videotestsrc ! video/x-raw,format={},width=1280,height=720 ! appsink"


class _Everything(Reader):
    """Reader of every format, as the GPU's detector is, so that nothing is converted for it."""

    reads = tuple(FORMATS)


_READER = _Everything()

_Ways = dict[str, Callable[[], Source] | str]
"""What opens a source in each way, by name; or the sentence on what is missing here."""


def capture(setting: Setting) -> tuple[str, Mapping[str, Any]]:
    """Read each camera, a clip and GStreamer's test source, in each way that exists here; see ``Work``."""
    ways = {**_of_cameras(this_host()), **_of_a_clip(_clip(setting.folder / "clip.mp4")), **_of_test_pictures()}
    details: dict[str, Any] = {}
    failed, missing = {}, dict[str, list[str]]()
    for name, opened in ways.items():
        if isinstance(opened, str):
            details[name] = f"not measured: {opened}"
            missing.setdefault(opened, []).append(name)
            continue
        try:
            details[name] = _measured(opened, _QUICK if setting.quick else _SECONDS)
        except Exception as error:  # whatever a library raises is this way's result, and the others are still measured
            text = str(error) if isinstance(error, SourceError) else f"{type(error).__name__}: {error}"
            failed[name] = details[name] = text
    if failed:
        raise FailedError("; ".join(f"{name}: {sentence}" for name, sentence in failed.items()), details)
    measured = {name: way for name, way in details.items() if isinstance(way, dict)}
    parts = [f"{name} {way['fps']:.0f} FPS by {way['cpu_percent']:.0f} % of a core" for name, way in measured.items()]
    left_out = [f"without {', '.join(names)}: {sentence}" for sentence, names in missing.items()]
    return "; ".join([", ".join(parts), *left_out]), details


def _of_cameras(host: Host) -> _Ways:
    """List the ways to each camera: as it comes, and in each format at the largest usual size that it lists."""
    ways = _Ways()
    devices, on_csi = kinds_of_cameras(host)
    for sensor in range(on_csi):
        lacking = gstreamer.lacking("nvarguscamerasrc", "nvvidconv")
        opened = partial(open_source, csi_pipeline(sensor), way="gstreamer", reader=_READER)
        ways[f"CSI camera {sensor}"] = lacking or opened
    for device in devices:
        number, formats = device.removeprefix("video"), listed_formats(host, device)
        modes = [CameraMode()]
        for name, one in CAMERA_FORMATS.items():
            if one.fourcc in formats:
                modes.append(CameraMode(formats[one.fourcc].largest(_LARGEST), None, name))
        for mode in modes:
            named = f"camera {number}{f' in {mode}' if str(mode) else ''}"
            ways[f"{named} by OpenCV"] = partial(open_source, number, mode=mode, way="opencv", reader=_READER)
            ways[f"{named} by GStreamer"] = _by_pipeline(number, mode, hardware=False)
            if mode.pixel_format == "mjpg" and gstreamer.decodes_in_hardware():
                ways[f"{named} in hardware"] = _by_pipeline(number, mode, hardware=True)
    return ways


def _by_pipeline(number: str, mode: CameraMode, hardware: bool) -> Callable[[], Source] | str:
    try:
        text = camera_pipeline(number, mode, hardware)
    except SourceError as error:
        return str(error)
    return partial(open_source, text, way="gstreamer", reader=_READER)


def _of_a_clip(clip: Path) -> _Ways:
    ways: _Ways = {"clip by PyAV": partial(open_source, str(clip), way="pyav", reader=_READER)}
    lacking = gstreamer.lacking("filesrc", "decodebin", "qtdemux", "videoconvert")
    ways["clip by GStreamer"] = lacking or partial(GStreamerVideo, clip, _READER)
    if gstreamer.decodes_in_hardware():
        ways["clip in hardware"] = lacking or partial(HardwareVideo, clip, _READER)
    return ways


def _of_test_pictures() -> _Ways:
    lacking = gstreamer.lacking("videotestsrc", "videoconvert")
    return {
        f"test picture in {name}": lacking or partial(open_source, _TEST.format(name), way="gstreamer", reader=_READER)
        for name in ("NV12", "YUY2", "BGRx")
    }


def _measured(opened: Callable[[], Source], seconds: float) -> dict[str, Any]:
    """Read a source for some seconds after its first frame, or to its end.

    Returns:
        ``start_seconds``: from opening to the first frame; ``fps`` and ``cpu_percent`` of the time after it, the latter
        as a share of one core for all threads of this process; ``frames``: those read; ``source`` and ``way``.
    """
    opening = perf_counter()
    with opened() as source:
        first = source.read()
        began, worked = perf_counter(), process_time()
        number, taken = 0, 0.0
        while first is not None and taken < seconds and source.read() is not None:
            number, taken = number + 1, perf_counter() - began
        busy = process_time() - worked
        if number == 0:
            raise SourceError(f"{source.name} gives {int(first is not None)} frames in all")
        return {
            "fps": number / taken,
            "cpu_percent": 100 * busy / taken,
            "frames": number + 1,
            "start_seconds": began - opening,
            "source": source.name,
            "way": source.way,
        }


def _clip(path: Path) -> Path:
    """Write a clip of the conveyor, which repeats after a second since drawing takes longer than decoding."""
    conveyor, video = Conveyor(1, _SIZE, fps=30), Video(path, ())
    pictures = [conveyor.frame(number)[0] for number in range(min(_DRAWN, _CLIP))]
    for number in range(_CLIP):
        video.write(Frame(pictures[number % len(pictures)], number, 0.0, number / 30), Detections.empty())
    video.close()
    return path
