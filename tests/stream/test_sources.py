from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import pytest

from ssd_edge.errors import SourceError
from ssd_edge.stream import cameras, gstreamer, sources
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.capture import Capture
from ssd_edge.stream.frames import Pacer, Source
from ssd_edge.stream.live import LiveSource, Taken
from ssd_edge.stream.sources import open_source
from ssd_edge.stream.supervision import Supervision
from tests.helpers import shared


def grey(level: int) -> np.ndarray:
    return np.full((48, 64, 3), level, np.uint8)


def levels(source: Source) -> list[int]:
    with source:
        return [round(float(frame.image.mean())) for frame in iter(source.read, None)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="devices are listed on Linux only")
def test_a_missing_camera() -> None:
    with pytest.raises(SourceError, match=r"there is no camera 97: (there are /dev/video|plug one in)"):
        open_source("97")
    with pytest.raises(SourceError, match="there is no camera 97"):
        open_source("/dev/video97")


def test_a_missing_path() -> None:
    with pytest.raises(SourceError, match=r"there is no file or folder nowhere/clip\.mp4: give one that exists"):
        open_source("nowhere/clip.mp4")


def test_a_file_that_is_not_a_video_gives_only_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("not a video\n" * 100)
    code = f"from ssd_edge.stream.sources import open_source\nopen_source({str(tmp_path / 'notes.mp4')!r})"
    stderr = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert stderr.rstrip().splitlines()[-1].endswith("as a video: it is damaged, or in a format FFmpeg lacks")
    assert stderr.startswith("Traceback")  # no line of OpenCV or FFmpeg before it
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(SourceError, match=r"empty\.mp4 of 0 bytes as a video"):
        open_source(str(tmp_path / "empty.mp4"))


def test_an_address_that_does_not_answer() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    for scheme in ("rtsp", "http"):
        with pytest.raises(SourceError, match=rf"no frames come from {scheme}://127.0.0.1:\d+/live: ") as caught:
            open_source(f"{scheme}://user:secret@127.0.0.1:{port}/live")
        assert "secret" not in str(caught.value)


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").touch()
    with pytest.raises(SourceError, match=r"holds no pictures: put files there that end with \.bmp"):
        open_source(str(tmp_path))


def test_a_folder_in_the_order_of_names_without_truncated_files(tmp_path: Path) -> None:
    for number in (1, 2, 10, 11):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), grey(number * 10))
    data = (tmp_path / "10.jpg").read_bytes()
    (tmp_path / "10.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "3.png").touch()
    source = open_source(str(tmp_path))
    assert not source.live
    assert levels(source) == [10, 20, 110]
    assert source.skipped == 2


def test_nothing_but_broken_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no picture")
    with open_source(str(tmp_path)) as source, pytest.raises(SourceError, match="no picture of"):
        source.read()
    with open_source(str(tmp_path / "a.jpg")) as source, pytest.raises(SourceError, match="no picture of"):
        source.read()


def test_a_single_grey_picture(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), grey(70)[..., 0])
    with open_source(str(tmp_path / "a.png")) as source:
        frame = source.read()
        assert frame is not None
        assert frame.image.shape == (48, 64, 3)
        assert (frame.file, frame.index, frame.position) == ("a.png", 0, None)
        assert source.read() is None


def test_real_video() -> None:
    with open_source(str(shared("media/vtest.avi"))) as source:
        frames = [frame for _ in range(25) if (frame := source.read())]
        assert [frame.index for frame in frames] == list(range(25))
        np.testing.assert_allclose([frame.position or 0 for frame in frames], np.arange(25) / 10, atol=0.002)
        assert frames[0].image.shape == (576, 768, 3)
        assert source.fps == pytest.approx(10)
        assert not source.live


def test_synthetic_camera() -> None:
    with pytest.raises(SourceError, match=r"whole number, as in synthetic:7, but got synthetic:x"):
        open_source("synthetic:x")
    with (
        open_source("synthetic:7", mode=CameraMode((160, 120), 50), realtime=False) as fast,
        open_source("synthetic:7", mode=CameraMode((160, 120), 50)) as paced,
    ):
        assert paced.live
        assert not fast.live
        began = monotonic()
        for _ in range(6):
            first, second = fast.read(), paced.read()
            assert first is not None
            assert second is not None
            np.testing.assert_array_equal(first.image, second.image)
        assert monotonic() - began >= 5 / 50
        assert first.image.shape == (120, 160, 3)


def test_pacer_does_not_catch_up() -> None:
    pacer, never = Pacer(50), threading.Event()
    pacer.wait(never)
    never.wait(0.2)
    began = monotonic()
    for _ in range(4):
        pacer.wait(never)
    assert monotonic() - began >= 0.03


class Flaky:
    """Connection that gives ``frames`` frames, and then none; after ``-1`` frames it cannot even be made."""

    fps, live, way, unreadable, ended = None, True, "by hand", 0, ""

    def __init__(self, frames: int, clock: Callable[[], float] = monotonic) -> None:
        if frames < 0:
            raise SourceError("no such device")
        self.left, self._clock = frames, clock

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        self.left -= 1
        return Taken(grey(1), self._clock(), 0.0) if self.left >= 0 else None

    def release(self) -> None:
        pass


def flaky_door(frames: list[int]) -> LiveSource:
    """Make a camera that gives these numbers of frames in its first, second, … connection, and none later."""
    connections = iter(frames)
    return LiveSource("door", lambda: Flaky(next(connections, 0)), "door is lost")


def test_a_lost_camera_is_opened_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssd_edge.stream.supervision.FIRST_DELAY", 0.001)
    source = flaky_door([2, 0, -1, 3, 1])
    frames = [source.read() for _ in range(6)]
    assert [frame.index for frame in frames if frame] == list(range(6))
    assert source.reconnects == 2


def test_a_camera_that_never_gave_a_frame_is_an_error() -> None:
    with pytest.raises(SourceError, match=r"^door is lost$"):
        flaky_door([0, 1])
    with pytest.raises(SourceError, match="no such device"):
        flaky_door([-1, 1])


def test_a_camera_that_is_gone_for_minutes_is_waited_for() -> None:
    """It delivered frames once, so it may come back; each change is said, later attempts once a minute."""
    clock, lines = Hurried(), []  # type: Hurried, list[str]
    supervision = Supervision("door", clock, lambda: 0.5)
    connections = iter([1, *[0] * 400, 2])
    source = LiveSource("door", lambda: Flaky(next(connections), clock), "door is lost", supervision)
    source.listen(lines.append)
    source._stopping = clock.stopping
    assert [frame.index for frame in (source.read(), source.read()) if frame] == [0, 1]
    assert clock.now > 360
    assert (source.reconnects, source.supervision.health().outage_count) == (1, 1)  # type: ignore[union-attr]
    assert lines[0] == "door: it gives no more frames; waiting 0.2 s"
    assert re.fullmatch(r"door: frames come again after (39|40)\d\.\d s.*", lines[-1])
    assert len(lines) < 30


class Hurried:
    """Clock that a source's waiting moves on, so that minutes pass at once."""

    def __init__(self) -> None:
        self.now, self.stopping = 0.0, self._Stop(self)

    def __call__(self) -> float:
        return self.now

    class _Stop(threading.Event):
        def __init__(self, clock: Hurried) -> None:
            super().__init__()
            self._clock = clock

        def wait(self, timeout: float | None = None) -> bool:
            self._clock.now += timeout or 0.0
            return self.is_set()


class OfAnotherKind(Flaky):
    """Connection whose frames cannot be used."""

    def take(self, stopping: Callable[[], bool]) -> Taken | None:
        raise SourceError("its frames are square")


def test_frames_of_another_kind_after_a_reconnection_are_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssd_edge.stream.supervision.FIRST_DELAY", 0.001)
    connections = iter([Flaky(1), OfAnotherKind(0), OfAnotherKind(0), Flaky(2)])
    source = LiveSource("door", lambda: next(connections), "door is lost")
    frames = [source.read() for _ in range(3)]
    assert [frame.index for frame in frames if frame] == [0, 1, 2]
    assert (source.reconnects, source.skipped, source.trouble) == (1, 2, "its frames are square")


def test_waiting_to_reconnect_can_be_stopped() -> None:
    with flaky_door([1]) as source, Capture(source) as capture:
        assert capture.take(1) is not None
        assert capture.take(0.1) is None
        began = monotonic()
    assert monotonic() - began < 0.3


@contextmanager
def mjpeg_camera(frames: int) -> Iterator[str]:
    """Serve a web camera that hangs up after ``frames`` frames."""
    _, jpeg = cv2.imencode(".jpg", grey(99))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            part = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            try:
                for _ in range(frames):
                    self.wfile.write(part + jpeg.tobytes() + b"\r\n")
            except OSError:
                pass

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_network_camera_that_hangs_up_is_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssd_edge.stream.supervision.FIRST_DELAY", 0.01)
    with mjpeg_camera(frames=40) as address, open_source(address) as source:
        assert source.live
        for _ in range(90):
            assert source.read() is not None
        assert source.reconnects >= 1


@pytest.mark.skipif(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer")
def test_a_pipeline_without_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer, "libraries", lambda: None)
    with pytest.raises(SourceError, match=r"built without GStreamer.*apt install python3-gi"):
        open_source("videotestsrc ! appsink")


def test_opencv_is_silenced_by_whichever_of_its_functions_it_has(monkeypatch):
    """OpenCV before 4.13 has no ``cv2.utils.logging``."""
    levels: list[int] = []
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    monkeypatch.delattr(cv2.utils, "logging", raising=False)
    monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    open_source("synthetic").close()
    assert levels == [0]


def test_a_camera_that_this_user_may_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "video_devices", lambda host: ["video7"])
    monkeypatch.setattr(sources, "_exists", lambda path: False)
    monkeypatch.setattr(cameras.Path, "exists", lambda path: True)
    monkeypatch.setattr(cameras.Path, "group", lambda path: "video")
    monkeypatch.setattr(cameras.os, "access", lambda path, mode: False)
    with pytest.raises(SourceError, match=r"may not use /dev/video7: .* \(sudo usermod -aG video"):
        open_source("7")


def test_a_home_folder_that_nobody_has() -> None:
    with pytest.raises(SourceError, match="there is no file or folder ~nobody-of-this-name"):
        open_source("~nobody-of-this-name/a.mp4")
