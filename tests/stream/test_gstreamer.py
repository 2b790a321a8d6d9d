"""Pipelines by PyGObject, over GStreamer's own test source; skipped where the system has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import pytest

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import INSTALL_GSTREAMER
from ssd_edge.pixels import FORMATS, Colour, RawFrame, to_bgr
from ssd_edge.stream import by_gstreamer, cameras, gstreamer
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.gstreamer import GStreamerConnection
from ssd_edge.stream.live import Taken
from ssd_edge.stream.sources import open_source
from tests.pythons import DEBIAN


def found() -> bool:
    """Look for PyGObject among the system's packages too, which a venv does not see by itself."""
    if gstreamer.libraries() is None:
        gstreamer.libraries.cache_clear()
        sys.path.append(DEBIAN)
        try:
            gstreamer.libraries()
        finally:
            sys.path.remove(DEBIAN)
    return gstreamer.has_elements("videotestsrc", "videoconvert")


needs_gstreamer = pytest.mark.skipif(
    not found(), reason=f"no GStreamer for this Python: {INSTALL_GSTREAMER} gstreamer1.0-plugins-base"
)


class Everything(Reader):
    """Reader of all formats, as the kernels are."""

    reads = tuple(FORMATS)


_QUICK = 6
"""Levels by which videoconvert was seen to be off in even areas; the other matrix or range is 12 and more off."""


def never() -> bool:
    return False


def all_of(text: str, reader: Reader) -> list[Taken]:
    """Run a pipeline to its end."""
    connection = GStreamerConnection(text, reader)
    taken = list(iter(lambda: connection.take(never), None))
    connection.release()
    return [frame for frame in taken if frame is not None]


@needs_gstreamer
@pytest.mark.parametrize("size", [(48, 64), (37, 51)])
@pytest.mark.parametrize(
    ("caps", "pixel_format", "colour"),
    [
        ("NV12,colorimetry=bt709", "NV12", Colour("bt709")),
        ("NV12,colorimetry=bt601", "NV12", Colour("bt601")),
        ("I420,colorimetry=1:4:0:0", "I420", Colour("bt601", full_range=True)),
        ("YUY2,colorimetry=1:3:0:0", "YUYV", Colour("bt709", full_range=True)),
        ("BGRx", "BGRx", Colour()),
        ("BGR", "BGR", Colour()),
        ("GRAY8", "GRAY8", Colour()),
    ],
)
def test_frames_keep_the_form_of_their_caps(
    caps: str, pixel_format: str, colour: Colour, size: tuple[int, int]
) -> None:
    """The picture is that of GStreamer's own conversion, whose quick arithmetic is some levels off."""
    source = f"videotestsrc num-buffers=2 pattern=smpte75 ! video/x-raw,format={caps},width={size[1]},height={size[0]}"
    raw = all_of(f"{source} ! appsink drop=1", Everything())
    assert len(raw) == 2
    (frame, _) = (taken.pixels for taken in raw)
    assert isinstance(frame, RawFrame)
    assert (frame.layout.pixel_format, frame.layout.size, frame.layout.colour) == (pixel_format, size, colour)
    (theirs, _) = (to_bgr(taken.pixels) for taken in all_of(f"{source} ! appsink", Reader()))
    # Away from the bars' edges, where videoconvert interpolates colour differences.
    differences = np.abs(to_bgr(frame).astype(int) - theirs.astype(int)).max(axis=2)
    assert np.median(differences) <= _QUICK


@needs_gstreamer
def test_what_the_reader_does_not_take_is_converted() -> None:
    (taken,) = all_of("videotestsrc num-buffers=1 ! video/x-raw,format=NV12,width=32,height=32 ! appsink", Reader())
    assert isinstance(taken.pixels, RawFrame)
    assert taken.pixels.layout.pixel_format == "BGR"


@needs_gstreamer
def test_a_change_of_caps_takes_effect_with_its_frame() -> None:
    text = (
        "concat name=both ! appsink  videotestsrc num-buffers=2 ! video/x-raw,format=NV12,width=64,height=48 ! both. "
        "videotestsrc num-buffers=2 ! video/x-raw,format=YUY2,width=32,height=24 ! both."
    )
    head, _, rest = text.partition("! appsink ")
    layouts = [taken.pixels.layout for taken in all_of(f"{rest} {head}! appsink", Everything())]  # type: ignore[union-attr]
    assert [(layout.pixel_format, layout.size) for layout in layouts] == [
        ("NV12", (48, 64)), ("NV12", (48, 64)), ("YUYV", (24, 32)), ("YUYV", (24, 32)),
    ]  # fmt: skip


@needs_gstreamer
def test_a_recording_ends_and_a_camera_is_live() -> None:
    with open_source("videotestsrc num-buffers=3 ! video/x-raw,width=32,height=24 ! appsink") as source:
        assert not source.live
        assert len(list(iter(source.read, None))) == 3
    with open_source("videotestsrc is-live=true ! video/x-raw,width=32,height=24 ! appsink") as source:
        assert source.live
        assert source.fps == 30
        assert [frame.index for _ in range(3) if (frame := source.read()) is not None] == [0, 1, 2]


@needs_gstreamer
def test_a_camera_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssd_edge.stream.supervision.FIRST_DELAY", 0.01)
    with open_source("videotestsrc is-live=true num-buffers=2 ! video/x-raw,width=32,height=24 ! appsink") as source:
        assert all(source.read() is not None for _ in range(3))
        assert source.reconnects == 1


@needs_gstreamer
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuchsrc ! appsink", "GStreamer has no element nosuchsrc: gst-inspect-1.0 nosuchsrc"),
        ("videotestsrc ! fakesink", "must end in ! appsink, but ends in 'fakesink'"),
        ("filesrc location=/nonexistent ! decodebin ! appsink", "pipeline fails: .*gst-launch-1.0"),
        ("videotestsrc num-buffers=0 ! appsink", "gives no frames"),
    ],
)
def test_a_wrong_pipeline_says_why(text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(text)


@needs_gstreamer
@pytest.mark.parametrize(
    "program",
    [
        "import onnxruntime as o\ntry: o.InferenceSession(b'no')",
        "import openvino as o\ntry: o.Core().read_model(b'no')",
    ],
)
def test_libraries_that_are_loaded_later_can_raise(program: str) -> None:
    """GStreamer's libunwind made each C++ exception abort the process, where the library was loaded after it."""
    start = f"import sys; sys.path[:] = {[*sys.path, DEBIAN]!r}\nfrom ssd_edge.stream import gstreamer\n"
    program = f"{start}assert gstreamer.libraries()\n{program}\nexcept Exception: print('an error')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "an error\n"), done.stderr


@needs_gstreamer
def test_a_recording_gives_its_pictures(tmp_path: Path) -> None:
    """A file without loss gives the pictures that were written, so nothing is left out, repeated or changed."""
    if not gstreamer.has_elements("avidemux", "avdec_ffv1"):
        pytest.skip("needs gstreamer1.0-plugins-good and gstreamer1.0-libav")
    path, noise = tmp_path / "a.avi", np.random.default_rng(0)
    frames = [noise.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(4)]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 25, (64, 48))
    for frame in frames:
        writer.write(frame)
    writer.release()
    with open_source(f"filesrc location={path} ! avidemux ! avdec_ffv1 ! appsink") as source:
        got = [frame.image for frame in iter(source.read, None)]
    np.testing.assert_array_equal(got, frames)


def of_a_jetson(monkeypatch: pytest.MonkeyPatch, lsmod: str | None = "/sbin/lsmod") -> None:
    """Let GStreamer have a Jetson's elements, and the system a program ``lsmod``."""
    monkeypatch.setattr(gstreamer, "lacking", lambda *names: "")
    monkeypatch.setattr("ssd_edge.stream.gstreamer.shutil.which", lambda name: lsmod)


class Recorded:
    """Connection that remembers its pipeline."""

    texts: list[str] = []  # noqa: RUF012 - emptied by the fixture
    fps, live, way, unreadable, ended = 30.0, True, "GStreamer, decoded in hardware", 0, ""

    def __init__(self, text: str, reader: Reader) -> None:
        self.texts.append(text)

    def take(self, stopping: object) -> Taken:
        return Taken(np.zeros((4, 4, 3), np.uint8), monotonic(), 0.0)

    def release(self) -> None:
        pass


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Recorded.texts.clear()
    monkeypatch.setattr(by_gstreamer, "GStreamerConnection", Recorded)
    monkeypatch.setattr(cameras, "video_devices", lambda host: ["video0"])
    monkeypatch.setattr(cameras, "_refused", lambda number: "")
    return Recorded.texts


def test_hardware_decodes_where_the_board_can(monkeypatch: pytest.MonkeyPatch, recorded: list[str]) -> None:
    of_a_jetson(monkeypatch)
    monkeypatch.setattr(cameras, "listed_formats", lambda host, device: {})
    with open_source("rtsp://user:secret@door/1", reader=Everything()) as source:
        assert source.name == "rtsp://door/1"
        assert source.way == "GStreamer, decoded in hardware"
    with open_source("0", mode=CameraMode((1280, 720), 30)) as source:
        assert source.name == "camera 0, MJPG 1280×720 at 30 FPS"
        assert source.way == "GStreamer, decoded in hardware"
    to_nv12 = "nvvidconv ! video/x-raw,format=NV12 ! appsink"
    jpeg = "image/jpeg,width=1280,height=720,framerate=30/1"
    assert recorded == [
        f'rtspsrc location="rtsp://user:secret@door/1" latency=100 protocols=tcp ! decodebin ! {to_nv12}',
        f"v4l2src device=/dev/video0 ! {jpeg} ! nvv4l2decoder mjpeg=1 ! {to_nv12}",
    ]


@pytest.mark.parametrize(
    ("mode", "lsmod", "text"),
    [
        (
            CameraMode(pixel_format="mjpg"),
            "/sbin/lsmod",
            "image/jpeg ! nvv4l2decoder mjpeg=1 ! nvvidconv ! video/x-raw,format=NV12 ! appsink",
        ),
        (CameraMode((640, 480), 7.5), None, "image/jpeg,width=640,height=480,framerate=15/2 ! jpegdec ! appsink"),
        (CameraMode((640, 480), None, "nv12"), None, "video/x-raw,format=NV12,width=640,height=480 ! appsink"),
        (CameraMode(), None, "decodebin ! appsink"),
    ],
)
def test_a_camera_by_gstreamer(
    monkeypatch: pytest.MonkeyPatch, recorded: list[str], mode: CameraMode, lsmod: str | None, text: str
) -> None:
    of_a_jetson(monkeypatch, lsmod)
    monkeypatch.setattr(cameras, "listed_formats", lambda host, device: {})
    open_source("0", mode=mode, way="gstreamer").close()
    assert recorded == [f"v4l2src device=/dev/video0 ! {text}"]


def test_a_camera_that_refuses_a_mode_under_gstreamer(monkeypatch: pytest.MonkeyPatch, recorded: list[str]) -> None:
    of_a_jetson(monkeypatch)

    def refuses(recorded: Recorded, stopping: object) -> Taken:
        raise SourceError("the GStreamer pipeline fails: not negotiated")

    monkeypatch.setattr(cameras, "listed_formats", lambda host, device: {})
    monkeypatch.setattr(Recorded, "take", refuses)
    with pytest.raises(
        SourceError, match="camera 0 does not give MJPG at 90 FPS to GStreamer: the GStreamer pipeline fa"
    ):
        open_source("0", mode=CameraMode(None, 90, "mjpg"))


def test_a_container_without_lsmod_decodes_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    of_a_jetson(monkeypatch, lsmod=None)
    assert not gstreamer.decodes_in_hardware()
