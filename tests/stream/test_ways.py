"""``--capture``: which library reads which kind of source, and what is said where it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest

from ssd_edge.choices import help_of
from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.stream import cameras, gstreamer, gstreamer_file
from ssd_edge.stream.camera_mode import CameraMode
from ssd_edge.stream.gstreamer_file import GStreamerVideo
from ssd_edge.stream.sources import check_source, open_source
from ssd_edge.stream.video_file import VideoSource
from ssd_edge.stream.ways import DEFAULT_WAY, WAYS
from tests.stream.test_gstreamer import found, needs_gstreamer
from tests.stream.test_video_file import damage, record

needs_decoders = pytest.mark.skipif(
    not (found() and gstreamer.has_elements("decodebin", "qtdemux", "avidemux", "avdec_h264", "avdec_mpeg4")),
    reason="needs gstreamer1.0-plugins-good and gstreamer1.0-libav",
)


def test_the_help_names_all_ways() -> None:
    assert help_of(WAYS, DEFAULT_WAY).startswith("auto (a Jetson's hardware where it decodes the source")
    assert "the default), gstreamer (" in help_of(WAYS, DEFAULT_WAY)


@pytest.mark.parametrize(
    ("uri", "way", "message"),
    [
        ("synthetic", "v4l2", "--capture must be one of auto, gstreamer, opencv, pyav, but got 'v4l2'"),
        (
            "synthetic",
            "opencv",
            r"--capture opencv does not read this kind of source \(synthetic\): leave --capture out",
        ),
        ("0", "pyav", r"--capture pyav does not read this kind of source \(camera\): use auto or gstreamer or opencv"),
        ("rtsp://door/1", "opencv", r"\(stream\): use auto or gstreamer or pyav"),
        ("a ! appsink", "pyav", r"\(pipeline\): use auto or gstreamer or opencv"),
        (__file__, "opencv", r"\(file\): use auto or gstreamer or pyav"),
    ],
)
def test_a_way_that_does_not_read_a_source(uri: str, way: str, message: str) -> None:
    for begin in (lambda: check_source(uri, CameraMode(), way), lambda: open_source(uri, way=way)):
        with pytest.raises(SourceError, match=message):
            begin()


@pytest.mark.parametrize("uri", [__file__, "rtsp://door/1", "videotestsrc ! appsink", str(Path(__file__).parent)])
def test_only_cameras_are_asked_for_a_size(uri: str) -> None:
    for mode in (CameraMode((64, 48)), CameraMode(fps=5), CameraMode(pixel_format="mjpg")):
        with pytest.raises(
            SourceError, match=r"cannot be asked for .*: size, frame rate and format are for cameras only"
        ):
            check_source(uri, mode)
        with pytest.raises(SourceError, match="are for cameras only"):
            open_source(uri, mode=mode)


def test_the_synthetic_camera_has_no_format() -> None:
    check_source("synthetic", CameraMode((64, 48), 5))
    with pytest.raises(SourceError, match="synthetic cannot be asked for MJPG"):
        check_source("synthetic", CameraMode(pixel_format="mjpg"))


def test_a_size_is_checked_before_the_camera_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssd_edge.machine.cameras import Sizes

    listed: Mapping[str, Sizes] = {"MJPG": Sizes(((640, 640, 1, 480, 480, 1),))}
    monkeypatch.setattr(cameras, "video_devices", lambda host: ["video3"])
    monkeypatch.setattr(cameras, "listed_formats", lambda host, device: listed)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("cv2.VideoCapture", None)  # calling it is a TypeError
    for way in ("auto", "opencv", "gstreamer"):
        with pytest.raises(SourceError, match="camera 3 gives no 1280×720: it has MJPG 640×480"):
            check_source("3", CameraMode((1280, 720)), way)
    with pytest.raises(SourceError, match="camera 3 gives no 1280×720: it has MJPG 640×480"):
        open_source("3", mode=CameraMode((1280, 720)))


def test_insisting_on_gstreamer_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "a.avi", frames=2)
    monkeypatch.setattr(gstreamer, "libraries", lambda: None)
    for uri in (str(path), "videotestsrc ! appsink", "rtsp://127.0.0.1:1/a"):
        with pytest.raises(SourceError, match=r"this Python has no GStreamer: sudo apt install python3-gi"):
            open_source(uri, way="gstreamer")


@needs_gstreamer
def test_missing_elements_are_named_with_their_packages() -> None:
    assert gstreamer.lacking("videotestsrc") == ""
    assert gstreamer.lacking("nvnothing", "videotestsrc", "avdec_nothing") == (
        "GStreamer has no element nvnothing and no avdec_nothing: "
        "sudo apt install gstreamer1.0-libav nvidia-l4t-gstreamer"
    )


# Files. PyAV's frames are the reference.


def frames_of(source: VideoSource) -> tuple[list[int], list[float], list[float], int]:
    """Return the index, position and grey level of all frames, and the number of lost ones."""
    with source:
        frames = list(iter(source.read, None))
    levels = [float(np.median(frame.image)) for frame in frames]
    return [frame.index for frame in frames], [frame.position or 0.0 for frame in frames], levels, source.lost


def assert_equal(ours: VideoSource, theirs: VideoSource, number: int) -> None:
    (indices, positions, levels, lost), right = frames_of(ours), frames_of(theirs)
    assert indices == right[0] == list(range(number))
    np.testing.assert_allclose(positions, right[1], atol=1e-6)  # GStreamer's clock counts nanoseconds
    np.testing.assert_allclose(levels, right[2], atol=3)  # of 7 between two frames; the two convert colours otherwise
    assert lost == right[3] == 0


@needs_decoders
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.avi", "mjpeg"),
        ("a.mp4", "mpeg4"),
        ('a "b" \\ c ! ü.mp4', "mpeg4"),
    ],
)
def test_gstreamer_gives_the_frames_of_pyav(tmp_path: Path, name: str, codec: str) -> None:
    """As many, in the same order, at the same times: x264 has B-frames by default, so an .mp4 has an edit list."""
    path = record(tmp_path / name, frames=33, codec=codec, sound=not name.endswith("mp4"))
    assert_equal(GStreamerVideo(path, Reader()), VideoSource(path), 33)


@needs_decoders
@pytest.mark.parametrize("turned", [90, 180, 270])
def test_gstreamer_turns_a_video_upright(tmp_path: Path, turned: int) -> None:
    path = record(tmp_path / "a.mp4", frames=3, codec="mpeg4", turned=turned)
    with VideoSource(path) as theirs, GStreamerVideo(path, Reader()) as ours:
        right, frame = theirs.read(), ours.read()
    assert right is not None
    assert frame is not None
    assert frame.image.shape == right.image.shape
    assert np.abs(frame.image.astype(int) - right.image).mean() < 8  # the white mark in a wrong corner adds 2 · 5


@needs_decoders
@pytest.mark.parametrize("broken", [[], [0], [10, 11, 20], [29], list(range(5, 25))])
def test_gstreamer_reads_on_behind_damaged_frames(tmp_path: Path, broken: list[int]) -> None:
    path = record(tmp_path / "a.avi", frames=30)
    damage(path, broken)
    (indices, positions, levels, lost), right = frames_of(GStreamerVideo(path, Reader())), frames_of(VideoSource(path))
    assert (indices, lost) == (right[0], right[3]) == (list(range(30 - len(broken))), len(broken))
    np.testing.assert_allclose(positions, right[1], atol=1e-6)
    np.testing.assert_allclose(levels, right[2], atol=3)


@needs_decoders
@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mp4", "mpeg4")])
def test_every_frame_is_given_or_lost(tmp_path: Path, name: str, codec: str) -> None:
    """Zeros in place of three packets cost those that refer to them too, and nothing hides it."""
    path = record(tmp_path / name, frames=30, codec=codec)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in (10, 11, 20):
        position, size = places[number]
        assert position is not None
        data[position + 4 : position + size] = bytes(size - 4)
    path.write_bytes(data)
    indices, _, _, lost = frames_of(GStreamerVideo(path, Reader()))
    assert 20 <= len(indices) < 30
    assert len(indices) + lost == 30


@needs_decoders
def test_frames_that_gstreamer_does_not_give_are_counted(tmp_path: Path) -> None:
    """The end of the file is missing: both give what is there, and count the rest."""
    path = record(tmp_path / "a.avi", frames=30)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    theirs, ours = frames_of(VideoSource(path)), frames_of(GStreamerVideo(path, Reader()))
    assert 5 < len(ours[0]) < 25
    assert len(ours[0]) + ours[3] == len(theirs[0]) + theirs[3] == 30


@needs_decoders
def test_a_file_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("not a video\n" * 100)
    with pytest.raises(SourceError, match=r"cannot read .*a\.mp4 of 1200 bytes as a video"):
        open_source(str(tmp_path / "a.mp4"), way="gstreamer")


# A Jetson's elements are played by software ones.


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let avdec_h264 be the hardware's decoder, and videoconvert its converter."""
    real = gstreamer.GStreamerConnection
    monkeypatch.setattr(gstreamer, "no_hardware", lambda: "")
    monkeypatch.setattr(gstreamer_file, "no_hardware", lambda: "")
    monkeypatch.setattr(gstreamer, "_HARDWARE", ("avdec_h264",))
    monkeypatch.setattr(
        gstreamer_file,
        "GStreamerConnection",
        lambda text, reader, recorded: real(text.replace("nvvidconv flip-method=0", "videoconvert"), reader, recorded),
    )
    return monkeypatch


@needs_decoders
def test_a_file_is_decoded_in_hardware_where_it_can_be(tmp_path: Path, hardware: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "a.mp4", frames=20, codec="libx264")
    for way in ("auto", "gstreamer"):
        source = open_source(str(path), way=way)
        assert isinstance(source, VideoSource)
        assert source.way == "GStreamer, decoded in hardware"
        assert_equal(source, VideoSource(path), 20)
    with open_source(str(path), way="pyav") as source:
        assert source.way == "PyAV"


@needs_decoders
def test_a_codec_that_the_hardware_lacks(tmp_path: Path, hardware: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "a.mp4", frames=5, codec="mpeg4")
    for way, name in (("auto", "PyAV"), ("gstreamer", "GStreamer")):
        with open_source(str(path), way=way) as source:
            assert source.way == f"{name}, since in hardware GStreamer has no hardware decoder for mpeg4"
            assert len(list(iter(source.read, None))) == 5


@needs_gstreamer
def test_what_a_jetson_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssd_edge.stream.gstreamer.shutil.which", lambda name: "/sbin/lsmod")
    assert "no element nvv4l2decoder and no nvvidconv: sudo apt install nvidia-l4t-gstreamer" in gstreamer.no_hardware()
    monkeypatch.setattr(gstreamer, "lacking", lambda *names: "")
    monkeypatch.setattr("ssd_edge.stream.gstreamer.shutil.which", lambda name: None)
    assert gstreamer.no_hardware() == "NVIDIA's decoder gives no frame without lsmod: sudo apt install kmod"
