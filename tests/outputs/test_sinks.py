from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import cv2
import numpy as np
import pytest

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector
from ssd_edge.errors import SinkError
from ssd_edge.loop.run import run_loop
from ssd_edge.outputs import syncing
from ssd_edge.outputs.draw import PALETTE, annotate
from ssd_edge.outputs.images import Images
from ssd_edge.outputs.json_lines import JsonLines
from ssd_edge.outputs.sink import Sink, StopLoop
from ssd_edge.outputs.video import Video
from ssd_edge.outputs.window import Window
from ssd_edge.stream.buffers import EVERY
from ssd_edge.stream.frames import Frame
from ssd_edge.stream.sources import open_source
from tests.cameras import Ticking
from tests.helpers import shared

resource = pytest.importorskip("resource")

LABELS = ("bolt", "nut")
MakeDetector = Callable[..., Detector]


def some_detections(*boxes: tuple[float, float, float, float]) -> Detections:
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.full(n, 0.87654, np.float32), np.arange(n, dtype=np.int64) % 2
    )


def noise(index: int, size: tuple[int, int] = (120, 160)) -> Frame:
    pixels = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
    return Frame(pixels, index, monotonic(), index / 30)


def count_frames(path: Path) -> int:
    with open_source(str(path)) as source:
        return sum(1 for _ in iter(source.read, None))


def write_many(sink: Sink, count: int) -> None:
    for index in range(count):
        sink.write(noise(index), some_detections((1, 2, 30, 40)))


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Make writing beyond ``limit`` bytes of a file fail with EFBIG, as it fails on a full disk with ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("size", [(120, 160), (121, 161)])
def test_video_reopens_with_all_frames(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    path = tmp_path / f"out{suffix}"
    with Video(path, LABELS, fps=30) as video:
        for index in range(40):
            video.write(noise(index, size), some_detections((10, 10, 60, 60)))
    assert count_frames(path) == 40
    with open_source(str(path)) as source:
        frame = source.read()
        assert frame is not None
        assert frame.image.shape == (120, 160, 3)
        assert source.fps == pytest.approx(30, rel=0.05)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_video_keeps_the_times_of_frames_where_some_were_dropped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    times = [0.0, 0.1, 0.5, 0.55, 2.0]
    with Video(path, LABELS) as video:
        for index, time in enumerate(times):
            video.write(Frame(noise(index).image, index, 0.0, time), Detections.empty())
    with open_source(str(path)) as source:
        assert [frame.position for frame in iter(source.read, None)] == pytest.approx(times, abs=0.002)


def test_video_of_pictures_of_all_sizes_and_one_time(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with Video(path, LABELS) as video:
        for index, size in enumerate([(120, 160), (300, 80), (31, 33), (1, 1)]):
            video.write(Frame(noise(index, size).image, index, 0.0, None), Detections.empty())
    assert count_frames(path) == 4


def test_video_of_nothing_writes_no_file(tmp_path: Path) -> None:
    with Video(tmp_path / "out.mp4", LABELS):
        pass
    assert list(tmp_path.iterdir()) == []


def test_video_names_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"name it \.mp4, \.mkv, \.avi"):
        Video(tmp_path / "out.gif", LABELS)
    with pytest.raises(SinkError, match="there is no folder"):
        Video(tmp_path / "nowhere" / "out.mp4", LABELS)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(SinkError, match="Is a directory"), Video(tmp_path / "folder.mp4", LABELS) as video:
        video.write(noise(0), Detections.empty())


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_video_on_a_disk_that_fills_up(make_detector: MakeDetector, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"

    class Noise(Ticking):
        def read(self) -> Frame | None:
            frame = super().read()
            return frame and noise(frame.index)

    with file_size_limit(500_000), pytest.raises(SinkError, match=r"cannot write .*: File too large; what was written"):
        run_loop(make_detector(), Noise(1000, live=False), [Video(path, LABELS)], buffer=EVERY)
    assert path.stat().st_size == 500_000
    assert count_frames(path) > 10


def test_video_on_a_full_file_system(tiny_disk: Path) -> None:
    path = tiny_disk / "out.mp4"
    with pytest.raises(SinkError, match="No space left on device"), Video(path, LABELS) as video:
        write_many(video, 1000)
    assert count_frames(path) > 5


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_video_of_a_process_that_was_killed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    code = f"""
import os, signal
from tests.outputs.test_sinks import Detections, LABELS, Video, noise
video = Video({str(path)!r}, LABELS)
for index in range(200):
    video.write(noise(index), Detections.empty())
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert count_frames(path) > 100


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with JsonLines(path, LABELS) as sink:
        sink.write(noise(3), some_detections((1.04, 2, 30.06, 40), (0, 0, 5, 5)))
        assert path.read_text().count("\n") == 1  # flushed
        sink.write(Frame(noise(0).image, 4, 0.0, None, "a.jpg"), Detections.empty())
    sink.close()
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {
        "index": 3,
        "time": 0.1,
        "file": None,
        "detections": [
            {"label": "bolt", "score": 0.8765, "box": [1.0, 2.0, 30.1, 40.0]},
            {"label": "nut", "score": 0.8765, "box": [0.0, 0.0, 5.0, 5.0]},
        ],
        "num_cut": 0,
    }
    assert (second["time"], second["file"], second["detections"]) == (None, "a.jpg", [])


def test_json_lines_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonLines("-", LABELS) as sink:
        sink.write(noise(0), Detections.empty())
    print("still open")
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first)["index"] == 0
    assert second == "still open"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_json_lines_to_a_full_disk() -> None:
    with (
        pytest.raises(SinkError, match="cannot write /dev/full: No space left on device"),
        JsonLines("/dev/full", LABELS) as sink,
    ):
        sink.write(noise(0), Detections.empty())


def test_json_lines_keeps_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    sink = JsonLines(path, LABELS)
    with file_size_limit(1000), pytest.raises(SinkError, match="File too large"):
        write_many(sink, 100)
    sink.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) > 5
    with pytest.raises(SinkError, match="No such file or directory"):
        JsonLines(tmp_path / "nowhere" / "out.jsonl", LABELS)


@pytest.mark.slow
def test_json_lines_to_a_pipe_that_closes() -> None:
    code = """
from tests.outputs.test_sinks import Detections, JsonLines, LABELS, StopLoop, noise
frame = noise(0, (2, 2))
try:
    with JsonLines("-", LABELS) as sink:
        while True:
            sink.write(frame, Detections.empty())
except StopLoop:
    pass
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["index"] == 0
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(10) == 0


def test_images(tmp_path: Path) -> None:
    with Images(tmp_path / "new" / "folder", LABELS) as sink:
        sink.write(noise(7), some_detections((10, 10, 60, 60)))
        sink.write(Frame(noise(0).image, 8, 0.0, None, "part.png"), Detections.empty())
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == ["000007.jpg", "000008-part.jpg"]
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="File exists"):
        Images(tmp_path / "file", LABELS)


@pytest.mark.parametrize("name", ["가" * 83 + ".png", "b" * 255, "\udcb0.png"])
def test_images_named_after_long_and_odd_names(tmp_path: Path, name: str) -> None:
    """250 bytes, and the frame's number before them, are more than a file's name can have."""
    with Images(tmp_path, LABELS) as sink:
        sink.write(Frame(noise(0).image, 3, 0.0, None, name), Detections.empty())
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("000003-_" if name[0] == "\udcb0" else f"000003-{name[0]}")
    assert path.suffix == ".jpg"


def test_window_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    if not sys.platform.startswith("linux"):
        pytest.skip("elsewhere there is always a display")
    with pytest.raises(SinkError, match="no display to open a window on: use --save-video"):
        Window(LABELS)
    monkeypatch.setenv("DISPLAY", ":97")  # no display answers there, so Qt would abort
    with pytest.raises(SinkError, match="no display"):
        Window(LABELS)


def test_window_ends_with_a_key(make_detector: MakeDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[np.ndarray] = []
    keys = iter([-1, -1, ord("q")])
    monkeypatch.setattr("ssd_edge.outputs.window.has_display", lambda: True)
    for name in ("namedWindow", "resizeWindow", "destroyWindow"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr(cv2, "waitKey", lambda _: next(keys))
    report = run_loop(make_detector(), Ticking(50, live=False), [Window(LABELS)], buffer=EVERY)
    assert report.processed == len(shown) == 3


def test_drawing_leaves_the_frame_alone_and_stays_inside() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    edges = some_detections((-5, 60, 40, 120), (300, 200, 330, 250), (0, 0, 320, 240), (310, 3, 319, 9))
    picture = annotate(image, edges, LABELS, note="30.0 FPS")
    assert (image == 90).all()
    assert picture.shape == image.shape
    for colour in PALETTE[:2]:
        assert (picture == colour).all(axis=2).sum() > 100
    np.testing.assert_array_equal(annotate(image, Detections.empty(), LABELS), image)
    annotate(np.zeros((3, 3, 3), np.uint8), some_detections((0, 0, 3, 3)), LABELS)  # smaller than any tag
    assert len(set(PALETTE)) == len(PALETTE)


def test_real_video_all_the_way(make_detector: MakeDetector, tmp_path: Path) -> None:
    labels, path = make_detector().spec.labels, str(shared("media/vtest.avi"))
    sinks = [Video(tmp_path / "out.mp4", labels), JsonLines(tmp_path / "out.jsonl", labels)]
    report = run_loop(make_detector(0.002, 2), open_source(path), sinks, buffer=EVERY, max_frames=30)
    assert report.processed == 30
    assert count_frames(tmp_path / "out.mp4") == 30
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(30))
    assert lines[0]["detections"][0]["label"] == "bolt"


def test_stop_loop_is_raised_by_a_closed_pipe_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(SinkError, match="cannot write standard output: No space left on device"):
        JsonLines("-", LABELS).write(noise(0), Detections.empty())
    assert not issubclass(StopLoop, SinkError)


@pytest.mark.parametrize("name", ["out.mp4", "out.jsonl", "out"])
def test_recordings_reach_the_disk_while_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def logged(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", logged)
    monkeypatch.setattr(syncing, "SECONDS", 0.02)
    make = {"out.mp4": Video, "out.jsonl": JsonLines, "out": Images}[name]
    with make(tmp_path / name, LABELS) as sink:
        write_many(sink, 3)
        for _ in range(200):
            if len(synced) > 3:
                break
            sleep(0.02)
    folder = {"out": "out"}.get(name, tmp_path.name)
    written = {"out": {"000000.jpg", "000001.jpg", "000002.jpg"}}.get(name, {name})
    assert {*written, folder} <= set(synced)  # a thread of an earlier test may sync its folder too


@pytest.mark.parametrize("make", [Video, JsonLines, Images])
def test_a_disk_that_does_not_take_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: type) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    sink = make(tmp_path / "out.mp4", LABELS)
    sink.write(noise(0), some_detections())
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SinkError, match=r"cannot write .*out\.mp4.*: Input/output error"):
        sink.close()
    sink.close()


def test_a_frame_too_wide_for_a_jpeg(tmp_path: Path) -> None:
    with (
        pytest.raises(SinkError, match="at most 65500 pixels wide and high, but this frame is 65501×2"),
        Images(tmp_path, LABELS) as sink,
    ):
        sink.write(Frame(np.zeros((2, 65501, 3), np.uint8), 0, 0.0, 0.0), some_detections())
    with Images(tmp_path, LABELS) as sink:
        sink.write(Frame(np.zeros((2, 65500, 3), np.uint8), 0, 0.0, 0.0), some_detections())
    assert cv2.imread(str(tmp_path / "000000.jpg")).shape == (2, 65500, 3)
