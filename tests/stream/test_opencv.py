"""Connections by OpenCV: frames in the reader's memory, and what an array of OpenCV's is."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.pixels import RawFrame, to_bgr
from ssd_edge.stream import cameras
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.opencv import OpenCvConnection, recognised
from ssd_edge.stream.sources import open_source


class Counting(Reader):
    """Reader that remembers the memory that it gave."""

    def __init__(self) -> None:
        self.given: list[npt.NDArray[np.uint8]] = []

    def memory(self, nbytes: int) -> npt.NDArray[np.uint8]:
        self.given.append(super().memory(nbytes))
        return self.given[-1]


def recording(path: Any, frames: int) -> cv2.VideoCapture:
    """Write a video of ``frames`` frames and open it."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    return cv2.VideoCapture(str(path))


def test_frames_are_decoded_into_the_readers_memory(tmp_path: Any) -> None:
    """From the second frame on, once the size is known."""
    reader = Counting()
    connection = OpenCvConnection(recording(tmp_path / "a.avi", 4), reader)
    taken = [connection.take(lambda: False) for _ in range(4)]
    assert connection.take(lambda: False) is None
    connection.release()
    assert connection.fps == 25
    for number, frame in enumerate(taken):
        assert frame is not None
        assert isinstance(frame.pixels, np.ndarray)
        assert abs(int(frame.pixels.mean()) - 40 * number) <= 4  # of 40 between two frames; JPEG is not exact
        if number:
            assert frame.pixels.ctypes.data == reader.given[number - 1].ctypes.data


def test_grey_is_told_by_the_height() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    frame = recognised(grey, 3)
    assert isinstance(frame, RawFrame)
    np.testing.assert_array_equal(to_bgr(frame), np.repeat(grey[..., None], 3, axis=2))
    three = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert recognised(three, 0) is three


@pytest.mark.parametrize("shape", [(6, 4), (4, 4, 2), (6, 4, 1), (4, 4, 4)])
def test_what_may_be_another_format_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SourceError, match=r"not which format.*format=BGR ! appsink.*python3-gi"):
        recognised(np.zeros(shape, np.uint8), 4)


def test_16_bits_are_refused() -> None:
    with pytest.raises(SourceError, match="uint16 arrays"):
        recognised(np.zeros((4, 4), np.uint16), 4)


class Camera:
    """An OpenCV capture of a camera that gives 1280×720 in MJPG at 30 FPS, whatever it is asked for."""

    def __init__(self, asked: list[tuple[Any, ...]], *arguments: Any) -> None:
        self.asked = asked
        asked.append(arguments)

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, what: int, value: float) -> bool:
        self.asked.append((what, value))
        return True

    def get(self, what: int) -> float:
        return {
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_POS_MSEC: 0.0,
            cv2.CAP_PROP_FRAME_WIDTH: 1280.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 720.0,
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"MJPG")),
        }[what]

    def grab(self) -> bool:
        return True

    def retrieve(self, image: Any = None) -> tuple[bool, Any]:
        return True, np.zeros((720, 1280, 3), np.uint8) if image is None else image

    def release(self) -> None:
        pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Plug in a camera of number 3, and return how it was opened and what it was asked for."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(cameras, "video_devices", lambda host: ["video3"])
    monkeypatch.setattr(cameras, "_refused", lambda number: "")
    monkeypatch.setattr(cameras, "listed_formats", lambda host, device: {})
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ssd_edge.stream.gstreamer.decodes_in_hardware", lambda: False)
    monkeypatch.setattr(cv2, "VideoCapture", partial(Camera, calls))
    return calls


def test_a_camera_is_opened_by_v4l2(asked: list[tuple[Any, ...]]) -> None:
    """An OpenCV with GStreamer takes that first where no backend is named, and MJPG then has no effect."""
    source = open_source("3", mode=CameraMode((1280, 720), 30))
    frames = [source.read(), source.read()]
    assert asked == [
        (3, cv2.CAP_V4L2),
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 30),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ]
    assert all(frame is not None and frame.image.shape == (720, 1280, 3) for frame in frames)
    assert (source.name, source.way) == ("camera 3, MJPG 1280×720 at 30 FPS", "OpenCV")


@pytest.mark.parametrize(("told", "age"), [(0.25, 0.25), (-5.0, 0.0), (4000.0, 0.0)])
def test_age_begins_with_the_drivers_buffer(
    asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, told: float, age: float
) -> None:
    """V4L2 tells when a buffer was filled; what is no such time, as by another clock, is not believed."""
    usual = Camera.get

    def get(self: Camera, what: int) -> float:
        return 1000 * (monotonic() - told) if what == cv2.CAP_PROP_POS_MSEC else usual(self, what)

    monkeypatch.setattr(Camera, "get", get)
    with open_source("3") as source:
        frame = source.read()
    assert frame is not None
    assert monotonic() - frame.captured == pytest.approx(age, abs=0.1)


def test_nothing_is_asked_of_a_camera_by_default(asked: list[tuple[Any, ...]]) -> None:
    open_source("3").close()
    assert asked == [(3, cv2.CAP_V4L2), (cv2.CAP_PROP_BUFFERSIZE, 1)]


@pytest.mark.parametrize(
    "mode", [CameraMode((1920, 1080)), CameraMode(fps=60), CameraMode(pixel_format="yuyv"), CameraMode((1280, 721), 30)]
)
def test_what_a_camera_gives_instead_is_an_error(asked: list[tuple[Any, ...]], mode: CameraMode) -> None:
    """V4L2 takes the nearest size, rate and format without a word."""
    with pytest.raises(SourceError, match=r"camera 3 gives MJPG 1280×720 at 30 FPS where .* was asked for"):
        open_source("3", mode=mode)


def test_a_camera_that_comes_back_in_another_mode_is_said(
    asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind another hub; it is asked again until it gives what it gave."""
    monkeypatch.setattr("ssd_edge.stream.supervision.FIRST_DELAY", 0.001)
    grabs, lines, usual = iter([True, False, True]), [], Camera.get  # type: ignore[var-annotated]
    monkeypatch.setattr(Camera, "grab", lambda self: next(grabs))
    with open_source("3", mode=CameraMode((1280, 720), 30)) as source:
        source.listen(lines.append)
        assert source.read() is not None
        widths = iter([640.0])

        def get(self: Camera, what: int) -> float:
            return next(widths, usual(self, what)) if what == cv2.CAP_PROP_FRAME_WIDTH else usual(self, what)

        monkeypatch.setattr(Camera, "get", get)
        assert source.read() is not None
    assert "gives MJPG 640×720 at 30 FPS where MJPG 1280×720 at 30 FPS was asked for" in source.trouble
    assert any(source.trouble in line for line in lines)


@pytest.mark.parametrize(("broken", "reconnects"), [({2}, 0), (set(range(2, 31)), 0), (set(range(2, 32)), 1)])
def test_frames_that_cannot_be_decoded_are_counted(
    asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, broken: set[int], reconnects: int
) -> None:
    """They are left out; a camera that sends nothing else is opened again."""
    monkeypatch.setattr("ssd_edge.stream.supervision.FIRST_DELAY", 0.001)
    number = iter(range(1000))
    whole = Camera.retrieve

    def retrieve(self: Camera, image: Any = None) -> tuple[bool, Any]:
        return (False, None) if next(number) in broken else whole(self, image)

    monkeypatch.setattr(Camera, "retrieve", retrieve)
    with open_source("3") as source:
        frames = [source.read() for _ in range(4)]
    assert [frame.index for frame in frames if frame is not None] == [0, 1, 2, 3]
    assert (source.skipped, source.reconnects) == (len(broken), reconnects)
    assert source.trouble == "camera 3 sends frames that cannot be decoded"


def test_a_rate_of_television_is_the_round_one(asked: list[tuple[Any, ...]]) -> None:
    open_source("3", mode=CameraMode(fps=29.97)).close()
