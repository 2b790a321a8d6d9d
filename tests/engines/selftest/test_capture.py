"""The section that measures each way to a frame."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import pytest

from ssd_edge.engines.selftest import capture
from ssd_edge.engines.selftest.sections import FailedError, Setting
from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import Sizes
from ssd_edge.stream import gstreamer
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.frames import Frame, Source
from tests.stream.test_gstreamer import found

CLIP = capture._CLIP
OF_PIPELINES = ["test picture in NV12", "test picture in YUY2", "test picture in BGRx"]


def setting(folder: Path) -> Setting:
    def no_engine(*_: object) -> None:
        raise AssertionError("capture needs no engine")

    return Setting(None, None, None, (), folder, no_engine, quick=True)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """No camera of this machine, and a short clip."""
    monkeypatch.setattr(capture, "kinds_of_cameras", lambda host: ([], 0))
    monkeypatch.setattr(capture, "_CLIP", 12)
    monkeypatch.setattr(capture, "_SIZE", (320, 240))
    monkeypatch.setattr(capture, "_QUICK", 0.2)


@pytest.fixture
def without_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "libraries", lambda: None)


class Slow(Source):
    """Source of ``number`` frames, whose first takes ``start`` seconds and the others ``every``."""

    name, way = "slow", "by hand"

    def __init__(self, number: int, start: float, every: float) -> None:
        super().__init__()
        self._delays = [start] + [every] * (number - 1)
        self._index = 0

    def read(self) -> Frame | None:
        if self._index == len(self._delays):
            return None
        sleep(self._delays[self._index])
        self._index += 1
        return Frame(np.zeros((4, 4, 3), np.uint8), self._index - 1, 0.0)


def test_a_clip_is_measured_everywhere(tmp_path: Path, without_gstreamer: None) -> None:
    """What cannot be measured is named once, with why."""
    sentence, details = capture.capture(setting(tmp_path))
    assert list(details) == ["clip by PyAV", "clip by GStreamer", *OF_PIPELINES]
    assert details["clip by PyAV"]["frames"] == 12
    assert details["clip by PyAV"]["fps"] > 0
    assert details["clip by PyAV"]["cpu_percent"] > 0
    assert all(details[name].startswith("not measured: this Python has no GStreamer") for name in OF_PIPELINES)
    assert sentence.startswith("clip by PyAV ")
    assert sentence.count("apt install python3-gi") == 1
    assert f"; without clip by GStreamer, {', '.join(OF_PIPELINES)}: this Python has no GStreamer" in sentence


@pytest.mark.skipif(
    not (found() and gstreamer.has_elements("qtdemux", "avdec_h264")), reason="no GStreamer with decoders here"
)
def test_gstreamer_is_measured_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence, details = capture.capture(setting(tmp_path))
    assert details["clip by GStreamer"]["frames"] == details["clip by PyAV"]["frames"] == 12
    for name in OF_PIPELINES:
        assert details[name]["frames"] > 1
        assert details[name]["way"] == "GStreamer"
    assert "without" not in sentence
    real, lacks = gstreamer.lacking, "GStreamer has no element qtdemux: sudo apt install gstreamer1.0-plugins-good"
    monkeypatch.setattr(gstreamer, "lacking", lambda *names: lacks if "qtdemux" in names else real(*names))
    sentence, details = capture.capture(setting(tmp_path))
    assert sentence.endswith(f"; without clip by GStreamer: {lacks}")
    assert isinstance(details["test picture in NV12"], dict)


@pytest.mark.parametrize(
    ("error", "words"), [(SourceError("it gives no frames"), "it gives no frames"), (OSError("gone"), "OSError: gone")]
)
def test_a_way_that_fails_is_a_result_and_the_rest_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_gstreamer: None, error: Exception, words: str
) -> None:
    def lost(uri: str, **options: object) -> Source:
        if uri == "2":
            raise error
        return Slow(5, 0, 0.001)

    listed = {
        "MJPG": Sizes(((640, 640, 1, 480, 480, 1), (1920, 1920, 1, 1080, 1080, 1), (3840, 3840, 1, 2160, 2160, 1))),
        "H264": Sizes(()),
        "YUYV": Sizes(((4000, 4000, 1, 3000, 3000, 1),)),
    }
    monkeypatch.setattr(capture, "kinds_of_cameras", lambda host: (["video2"], 1))
    monkeypatch.setattr(capture, "listed_formats", lambda host, device: listed)
    monkeypatch.setattr(capture, "open_source", lost)
    with pytest.raises(FailedError, match=f"camera 2 by OpenCV: {words}") as failure:
        capture.capture(setting(tmp_path))
    details = failure.value.details
    modes = ("", " in MJPG 1920×1080", " in YUYV 4000×3000")
    names = [f"camera 2{mode} by {way}" for mode in modes for way in ("OpenCV", "GStreamer")]
    assert [name for name in details if "amera" in name] == ["CSI camera 0", *names]
    assert all(details[name] == words for name in names if "OpenCV" in name)
    assert all("no GStreamer" in details[name] for name in names if "GStreamer" in name)
    assert details["clip by PyAV"]["frames"] == 5


@pytest.mark.parametrize("hardware", [False, True])
def test_ways_to_a_camera(monkeypatch: pytest.MonkeyPatch, hardware: bool) -> None:
    monkeypatch.setattr(capture, "kinds_of_cameras", lambda host: (["video0"], 0))
    monkeypatch.setattr(capture, "listed_formats", lambda host, device: {"MJPG": Sizes(((64, 64, 1, 48, 48, 1),))})
    monkeypatch.setattr(gstreamer, "lacking", lambda *names: "")
    monkeypatch.setattr(gstreamer, "decodes_in_hardware", lambda: hardware)
    ways = capture._of_cameras(None)  # type: ignore[arg-type]
    texts = {
        name: opened.args[0]
        for name, opened in ways.items()
        if isinstance(opened, partial) and "v4l2src" in opened.args[0]
    }
    source, jpeg = "v4l2src device=/dev/video0", "image/jpeg,width=64,height=48"
    expected = {
        "camera 0 by GStreamer": f"{source} ! decodebin ! appsink",
        "camera 0 in MJPG 64×48 by GStreamer": f"{source} ! {jpeg} ! jpegdec ! appsink",
    }
    if hardware:
        in_hardware = f"{source} ! {jpeg} ! nvv4l2decoder mjpeg=1 ! nvvidconv ! video/x-raw,format=NV12 ! appsink"
        expected["camera 0 in MJPG 64×48 in hardware"] = in_hardware
    assert texts == expected
    opened = ways["camera 0 in MJPG 64×48 by OpenCV"]
    assert isinstance(opened, partial)
    assert opened.keywords["mode"] == CameraMode((64, 48), None, "mjpg")


def test_frames_and_time_of_a_source() -> None:
    """The first frame's second is told apart, and the others take 20 ms each, up to what a busy machine adds."""
    began = perf_counter()
    measured = capture._measured(lambda: Slow(100, start=0.3, every=0.02), 0.4)
    took = perf_counter() - began
    assert 0.3 <= measured["start_seconds"] <= took - 0.4
    assert 2 <= measured["frames"] <= 1 + 0.4 / 0.02 + 1
    # All but the first frame were read in what is left of the time.
    assert measured["fps"] <= 1 / 0.02
    assert measured["fps"] >= (measured["frames"] - 1) / (took - 0.3)
    assert measured["cpu_percent"] >= 0


def test_there_is_enough_to_measure() -> None:
    """A share of the processor needs 300 frames, or five seconds."""
    assert CLIP >= 300
    assert capture._SECONDS >= 5


def test_a_source_that_ends_is_measured_to_its_end() -> None:
    measured = capture._measured(lambda: Slow(4, 0, 0.01), 5)
    assert measured["frames"] == 4
    assert (measured["source"], measured["way"]) == ("slow", "by hand")


@pytest.mark.parametrize("number", [0, 1])
def test_a_single_frame_says_nothing(number: int) -> None:
    with pytest.raises(SourceError, match=f"slow gives {number} frames in all"):
        capture._measured(lambda: Slow(number, 0, 0) if number else Ended(), 1)


class Ended(Slow):
    """A source without a frame."""

    def __init__(self) -> None:
        super().__init__(1, 0, 0)
        self._index = 1
