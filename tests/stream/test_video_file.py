"""Recordings read to their end, compared with what was written, frame by frame."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.stream import VideoStream

from ssd_edge.calibration.choice import choose_images
from ssd_edge.errors import SourceError
from ssd_edge.loop.run import run_loop
from ssd_edge.stream import sources
from ssd_edge.stream.buffers import EVERY
from ssd_edge.stream.files import ImageSource
from ssd_edge.stream.sources import open_source
from ssd_edge.stream.video_file import VideoSource, count_frames
from tests.helpers import shared


def record(
    path: Path, frames: int = 30, codec: str = "mjpeg", *, sound: bool = False, turned: int = 0, rate: int = 10
) -> Path:
    """Write a video in which frame i is of grey level 7·(i % 34) + 10, with a white mark in its upper left corner."""
    kind = {".avi": "avi", ".mp4": "mp4", ".mkv": "matroska", ".ts": "mpegts"}[path.suffix]
    with av.open(f"file:{os.fspath(path)}", "w", format=kind) as out:
        stream = out.add_stream(codec, rate=rate, options={"g": "5"} if codec != "mjpeg" else {})
        stream.width, stream.height, stream.bit_rate = 64, 48, 4_000_000
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if turned:
            stream.set_display_rotation(turned)
        track = out.add_stream("pcm_s16le", rate=8000, layout="mono") if sound else None
        for i in range(frames):
            picture = np.full((48, 64, 3), 7 * (i % 34) + 10, np.uint8)
            picture[:8, :8] = 255
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            if track is not None:
                tone = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
                tone.sample_rate, tone.pts = 8000, 800 * i
                out.mux(track.encode(tone))
        out.mux(stream.encode())
    return path


def damage(path: Path, packets: Sequence[int]) -> None:
    """Overwrite the data of these video packets with zeros."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for number in packets:
        place, size = places[number]
        begin = data.index(b"\xff\xd8", place)  # pos is that of the chunk's header
        data[begin : begin + size] = bytes(size)
    path.write_bytes(data)


def levels(source: VideoSource) -> list[int]:
    with source:
        return [round((float(np.median(frame.image)) - 10) / 7) for frame in iter(source.read, None)]


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("broken", [[], [0], [10, 11, 20], [29]])
def test_a_recording_is_read_on_behind_damaged_frames(tmp_path: Path, broken: list[int], sound: bool) -> None:
    path = record(tmp_path / "a.avi", sound=sound)
    damage(path, broken)
    source = VideoSource(path)
    assert levels(source) == [i for i in range(30) if i not in broken]
    assert source.lost == len(broken)


def test_positions_are_those_of_the_recording(tmp_path: Path) -> None:
    path = record(tmp_path / "a.avi")
    damage(path, [10, 11, 20])
    with VideoSource(path) as source:
        frames = list(iter(source.read, None))
    assert [frame.index for frame in frames] == list(range(27))
    right = [i / 10 for i in range(30) if i not in (10, 11, 20)]
    np.testing.assert_allclose([frame.position for frame in frames if frame.position is not None], right, atol=1e-6)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mjpeg"), ("a.mp4", "mpeg4")])
def test_what_a_recording_lacks_at_its_end_is_lost(tmp_path: Path, name: str, codec: str) -> None:
    whole = record(tmp_path / name, codec=codec)
    if name.endswith("mp4"):  # with the index in front, as a download is cut
        with (
            av.open(str(whole)) as old,
            av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "faststart"}) as new,
        ):
            stream = new.add_stream_from_template(old.streams.video[0])
            for packet in old.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    new.mux(packet)
        whole = tmp_path / "fast.mp4"
    cut = tmp_path / f"cut{whole.suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    source = VideoSource(cut)
    number = len(levels(source))
    assert 5 < number < 28
    assert source.lost == 30 - number
    complete = VideoSource(whole)
    assert len(levels(complete)) == 30
    assert complete.lost == 0


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_a_hole_is_seen_by_the_times_around_it(tmp_path: Path, name: str) -> None:
    """These containers announce no number of frames; one that is cut short is seen where it announces its length."""
    path = record(tmp_path / name, codec="mpeg4")
    complete = VideoSource(path)
    assert len(levels(complete)) == 30
    assert complete.lost == 0
    data = bytearray(path.read_bytes())
    hole = slice(len(data) // 2, len(data) // 2 + len(data) // 8)
    data[hole] = bytes(hole.stop - hole.start)
    path.write_bytes(data)
    damaged = VideoSource(path)
    number = len(levels(damaged))
    assert 5 < number < 30
    assert damaged.lost == 30 - number


def test_a_recording_with_irregular_times_lacks_nothing(tmp_path: Path) -> None:
    """A phone or a screen recorder takes frames when it has some."""
    times, random = 0, np.random.default_rng(0)
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for _ in range(30):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="bgr24")
            frame.pts, frame.time_base = times, Fraction(1, 1000)
            out.mux(stream.encode(frame))
            times += int(random.integers(30, 500))
        out.mux(stream.encode())
    source = VideoSource(tmp_path / "a.mkv")
    assert len(levels(source)) == 30
    assert source.lost == 0


def test_a_recording_that_is_left_early_has_lost_nothing(tmp_path: Path) -> None:
    with VideoSource(record(tmp_path / "a.avi")) as source:
        for _ in range(5):
            source.read()
    assert source.lost == 0


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_a_phones_video_is_turned_upright(tmp_path: Path, turned: int) -> None:
    """The reference is OpenCV, which turns by the same display matrix."""
    if not hasattr(VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a turned video")
    path = record(tmp_path / "a.mp4", 3, "mpeg4", turned=turned)
    with VideoSource(path) as source:
        frame = source.read()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    _, right = capture.read()
    capture.release()
    assert frame is not None
    assert frame.image.shape == right.shape
    assert int(np.abs(frame.image.astype(int) - right.astype(int)).max()) <= 2


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi"])
def test_other_containers(tmp_path: Path, name: str) -> None:
    source = VideoSource(record(tmp_path / name, codec="mpeg4"))
    assert source.fps == pytest.approx(10)
    np.testing.assert_allclose(levels(source), range(30), atol=1)  # MPEG-4 is not exact
    assert source.lost == 0


def test_pictures_are_those_of_opencv() -> None:
    """A model's results must not depend on the reader: at most one grey level apart."""
    path = shared("media/bikes.mp4")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    with VideoSource(path) as source:
        for _ in range(20):
            frame, (_, right) = source.read(), capture.read()
            assert frame is not None
            assert int(np.abs(frame.image.astype(int) - right.astype(int)).max()) <= 1
    capture.release()


def test_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    path = record(tmp_path / "a.avi", 3)
    damage(path, [0, 1, 2])
    with pytest.raises(SourceError, match=r"a\.avi of \d+ bytes as a video: it is damaged"):
        VideoSource(path)
    with av.open(str(tmp_path / "sound.wav"), "w") as out:
        track = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        tone.sample_rate = 8000
        out.mux(track.encode(tone))
    with pytest.raises(SourceError, match="as a video"):
        VideoSource(tmp_path / "sound.wav")


# Names.

NAMES = ["12:30:05", "synthetic:x", "rtsp:door", "a ! b", "%03d", "불량", "a#b?c", "pipe:0"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
@pytest.mark.parametrize("name", NAMES)
def test_a_files_name_is_never_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    name += ".avi"
    record(tmp_path / name, 3)
    monkeypatch.chdir(tmp_path)
    for uri in (name, str(tmp_path / name), f"file://{tmp_path / name}"):
        source = open_source(uri)
        assert isinstance(source, VideoSource)
        assert levels(source) == [0, 1, 2]
    assert count_frames(Path(name)) == 3


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xba\xd2.avi"))
    try:
        record(tmp_path / "a.avi", 3).rename(path)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert levels(VideoSource(path)) == [0, 1, 2]


def test_a_folder_whose_name_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "2024").mkdir()
    cv2.imwrite(str(tmp_path / "2024" / "a.png"), np.zeros((4, 4, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    with open_source("2024") as source:
        assert isinstance(source, ImageSource)
    monkeypatch.setattr(sources, "video_devices", lambda _: ["video2024"])
    with pytest.raises(SourceError, match=r"camera and also a file or folder: write /dev/video2024 or \./2024"):
        open_source("2024")
    with open_source("./2024") as source:
        assert isinstance(source, ImageSource)


def test_an_address_of_a_file_with_escapes(tmp_path: Path) -> None:
    record(tmp_path / "a b.avi", 2)
    assert levels(open_source(f"file://{tmp_path}/a%20b.avi")) == [0, 1]  # type: ignore[arg-type]


def test_a_text_that_is_too_long_for_a_name() -> None:
    with pytest.raises(SourceError):
        open_source("x" * 5000 + " ! appsink" if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER) else "x" * 5000)


def test_opencv_without_its_logging_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 4.12, setLogLevel is in cv2 itself; without either the messages stay."""
    path, asked = record(tmp_path / "a.avi", 2), []
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    monkeypatch.delattr(cv2.utils, "logging", raising=False)
    monkeypatch.setattr(cv2, "setLogLevel", asked.append, raising=False)
    open_source(str(path)).close()
    assert asked == [0]
    monkeypatch.delattr(cv2, "setLogLevel")
    open_source(str(path)).close()


# What uses the reader.


def test_the_report_counts_lost_frames(tmp_path: Path, make_detector: Any) -> None:
    path = record(tmp_path / "a.avi")
    damage(path, [10, 11, 20])
    report = run_loop(make_detector(), VideoSource(path), buffer=EVERY)
    assert (report.captured, report.processed, report.dropped, report.lost) == (27, 27, 0, 3)
    assert report.to_json()["lost"] == 3


def test_calibration_takes_other_frames_in_place_of_lost_ones(tmp_path: Path) -> None:
    path = record(tmp_path / "a.avi", 40)
    damage(path, [3, 4, 39])
    chosen, notes = choose_images(path, 40), []
    images = list(chosen.read(notes.append))
    assert [name for name, _ in images] == [f"a.avi, frame {i}" for i in range(40) if i not in (3, 4, 39)]
    assert notes == [f"3 frames of {path} cannot be decoded", f"3 of the 40 frames chosen from {path} are missing"]
    few, notes = choose_images(path, 32, seed=1), []
    images = list(few.read(notes.append))
    assert len(images) >= 31


def test_reported_recordings() -> None:
    for name, frames, lost in (
        ("11-video-bad-packet/middle.avi", 27, 3),
        ("11-video-bad-packet/sound.avi", 30, 0),
        ("12-colon-in-name/12:30:05.mp4", 30, 0),
    ):
        source = VideoSource(shared(f"cases/{name}"))
        assert len(list(iter(source.read, None))) == frames
        source.close()
        assert source.lost == lost
