"""The section that measures each way to a frame."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ssd_edge.engines.selftest import capture
from ssd_edge.engines.selftest.sections import FailedError, Setting
from ssd_edge.errors import SourceError
from ssd_edge.stream.frames import Source
from ssd_edge.stream.sources import open_source


def setting(folder: Path) -> Setting:
    def no_engine(*_: object) -> None:
        raise AssertionError("capture needs no engine")

    return Setting(None, None, None, (), folder, no_engine, quick=True)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """No camera of this machine, no GStreamer, and a short clip."""
    monkeypatch.setattr(capture, "video_devices", lambda host: [])
    monkeypatch.setattr("ssd_edge.stream.gstreamer.libraries", lambda: None)
    monkeypatch.setattr(capture, "_CLIP", 5)


def test_a_clip_is_measured_everywhere(tmp_path: Path) -> None:
    sentence, details = capture.capture(setting(tmp_path))
    assert list(details) == ["clip by PyAV"]
    assert details["clip by PyAV"]["frames"] == 5
    assert details["clip by PyAV"]["fps"] > 0
    assert details["clip by PyAV"]["cpu_percent"] > 0
    assert sentence.startswith("clip by PyAV ")
    assert "apt install python3-gi" in sentence


def test_a_camera_that_gives_nothing_fails_and_the_rest_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(number: int, *_: object) -> Source:
        raise SourceError(f"camera {number} gives no frames")

    monkeypatch.setattr(capture, "video_devices", lambda host: ["video2"])
    monkeypatch.setattr(capture, "camera", lost)
    with pytest.raises(FailedError, match="camera 2: camera 2 gives no frames") as error:
        capture.capture(setting(tmp_path))
    assert error.value.details["clip by PyAV"]["frames"] == 5


def test_frames_and_time_of_a_source() -> None:
    measured = capture._measured(partial(open_source, "synthetic", realtime=False), 0.2)
    assert measured["source"] == "synthetic:0"
    assert measured["frames"] / measured["fps"] >= 0.2
