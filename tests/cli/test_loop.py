"""``run`` and ``benchmark`` as they are typed: the loop, its files, and what is asked of a source; without PyTorch."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from time import monotonic, sleep
from typing import Any

import cv2
import numpy as np
import pytest

from ssd_edge.machine.cameras import Sizes
from ssd_edge.stream import cameras, gstreamer
from tests.stream.test_gstreamer import found
from tests.stream.test_opencv import Camera

PROGRAM = "from ssd_edge.cli.main import main; main()"


def test_benchmark_shows_engines_side_by_side(cli, heads_onnx, bundle, pictures):
    done = cli("benchmark", heads_onnx, bundle, "-c", pictures, "--frames", 10, "--warmup", 0, "--rounds", 1)
    assert done.code == 0
    for word in ("exact FP32", "openvino FP32", "FPS of the loop", "end to end", "threads"):
        assert word in done.out


def test_run_writes_video_pictures_and_json(cli, bundle, tmp_path):
    outputs = {"--save-video": "a.mp4", "--save-images": "images", "--save-json": "a.jsonl"}
    options = [word for option, name in outputs.items() for word in (option, tmp_path / name)]
    done = cli("run", bundle, "-c", "synthetic", "--frames", 12, "--min-score", 0.3, *options)
    assert (done.code, done.out) == (0, "")
    for name in outputs.values():
        assert f"written: {tmp_path / name}" in done.err
    assert re.search(r"\d+\.\d FPS, 12 frames of \d+, \d+ detections", done.err)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    for detection in (detection for line in lines for detection in line["detections"]):
        assert detection["label"] in {"bolt", "nut"}
        assert detection["score"] >= 0.3
    assert len(list((tmp_path / "images").iterdir())) == 12
    assert frames_of(tmp_path / "a.mp4") == 12


def test_run_records_in_pieces_and_clips(cli, bundle, tmp_path):
    """The small network sees bolts and nuts everywhere, so that a clip begins with the first frame."""
    paths = (
        "--save-video",
        tmp_path / "a.mp4",
        "--save-json",
        tmp_path / "a.jsonl",
        "--save-clips",
        tmp_path / "clips",
    )
    rules = ("--rotate-size", "4KB", "--clip-after", "100ms", "--disk-quota", "100MB", "--disk-floor", "0")
    for _ in range(2):
        done = cli("run", bundle, "-c", "synthetic", "--frames", 20, "--min-score", 0, *paths, *rules)
        assert (done.code, done.out) == (0, "")
    videos, lines = sorted(tmp_path.glob("a-*.mp4")), sorted(tmp_path.glob("a-*.jsonl"))
    assert sum(frames_of(video) for video in videos) == 40
    assert sum(path.read_text().count("\n") for path in lines) == 40
    assert len(lines) > 2
    assert not (tmp_path / "a.mp4").exists()
    about = [json.loads(path.read_text()) for path in (tmp_path / "clips").glob("*.json")]
    assert len(about) >= 2
    assert all(one["complete"] and one["camera"] == "synthetic:0" for one in about)
    assert {event["event"] for one in about for event in one["events"]} == {"seen"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
def test_a_full_output_stops_a_file_and_not_a_camera(cli, bundle, pictures):
    full = ("--no-window", "--save-json", "/dev/full", "--disk-floor", "0")
    done = cli("run", bundle, "-c", "synthetic", "--frames", 8, *full)
    assert done.code == 0
    assert "output json: cannot write /dev/full: No space left on device; trying again in 0." in done.err
    assert "output json: could not be written until the end, 8 frames dropped" in done.err
    assert "8 lost by json" in " ".join(done.err.split())
    cli("run", bundle, "-c", pictures, *full).sentence("cannot write /dev/full: No space left on device")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rotate-size", "5"), "--rotate-size: a size on the disk is a number with its unit, such as 500MB"),
        (("--rotate-every", "5d"), "--rotate-every: a duration is a number above 0 with ms, s, m or h"),
        (("--disk-floor", "lots"), "--disk-floor: a size on the disk"),
        (("--disk-quota", "10MB", "--rotate-size", "9MB"), "pieces of 9 MB are too large for a quota of 10 MB"),
        (("--clip-before", "-1s"), "--clip-before: a duration"),
        (("--disk-floor", "900TB"), None),
    ],
)
def test_what_recordings_cannot_be_is_said_before_anything_starts(cli, bundle, tmp_path, options, words):
    saved = ("--frames", 3, "--no-window", "--save-json", tmp_path / "a.jsonl")
    if words is None:  # a full disk is waited for
        done = cli("run", bundle, "-c", "synthetic", *saved, *options)
        assert done.code == 0
        assert "less than 900 TB are free on its disk: make room" in done.err
    else:
        cli("run", "none.engine", "-c", "synthetic", *saved, *options).sentence(words)
    assert not (tmp_path / "a.jsonl").exists()


def frames_of(video):
    capture = cv2.VideoCapture(str(video))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def test_run_prints_json_lines(cli, bundle, pictures):
    done = cli("run", bundle, "-c", pictures, "--every-frame", "--no-window", "--save-json", "-")
    assert done.code == 0
    assert [json.loads(line)["file"] for line in done.out.splitlines()] == sorted(
        (path.name for path in pictures.iterdir()), key=lambda name: int(name.split(".")[0])
    )


def test_run_every_frame_of_a_video(cli, bundle, tmp_path):
    """No frame of a video of 20 is lost, however slow the engine is."""
    writer = cv2.VideoWriter(str(tmp_path / "in.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for k in range(20):
        writer.write(np.full((48, 64, 3), 10 * k, np.uint8))
    writer.release()
    report = json.loads(cli("run", bundle, "-c", tmp_path / "in.avi", "--every-frame", "--no-window", "--json").out)
    assert (report["captured"], report["processed"], report["dropped"]) == (20, 20, 0)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGINT of another process")
def test_ctrl_c_ends_a_run_and_closes_its_files(bundle, tmp_path):
    lines, video = tmp_path / "a.jsonl", tmp_path / "a.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", bundle, "-c", "synthetic", "--save-json", lines, "--save-video", video],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = monotonic() + 60
    while not (lines.exists() and lines.read_text().count("\n") >= 10) and monotonic() < limit:
        sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "interrupted" in err
    assert "Traceback" not in err
    count = len([json.loads(line) for line in lines.read_text().splitlines()])
    assert count >= 10
    assert frames_of(video) == count


# What is asked of a source.


@pytest.fixture
def webcam(monkeypatch):
    """Plug in camera 3, which gives 1280×720 in MJPG at 30 FPS; return what is asked of it."""
    asked: list[tuple[Any, ...]] = []
    listed = {"MJPG": Sizes(((1280, 1280, 1, 720, 720, 1), (640, 640, 1, 480, 480, 1)))}
    monkeypatch.setattr(cameras, "video_devices", lambda host: ["video3"])
    monkeypatch.setattr(cameras, "_refused", lambda number: "")
    monkeypatch.setattr(cameras, "listed_formats", lambda host, device: listed)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(cv2, "VideoCapture", partial(Camera, asked))
    return asked


def test_run_asks_a_camera_for_a_mode(cli, bundle, webcam):
    done = cli("run", bundle, "-c", "3", "--size", "1280x720", "--fps", "30", "--frames", 3, "--no-window")
    assert (done.code, done.out) == (0, "")
    assert "on camera 3, MJPG 1280×720 at 30 FPS by OpenCV; Ctrl-C" in " ".join(done.err.split())
    assert (cv2.CAP_PROP_FRAME_WIDTH, 1280) in webcam
    assert (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")) in webcam


def test_benchmark_asks_a_camera_for_a_mode(cli, bundle, webcam):
    more = ("--frames", 10, "--warmup", 0, "--rounds", 1)
    done = cli("benchmark", bundle, "-c", "/dev/video3", "--format", "MJPG", "--capture", "opencv", *more)
    assert done.code == 0, done
    assert (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")) in webcam


@pytest.mark.parametrize("command", ["run", "benchmark"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--size", "800x600"), "camera 3 gives no 800×600: it has MJPG 1280×720, 640×480"),
        (("--format", "yuyv"), "camera 3 gives no YUYV: it has MJPG"),
        (("--size", "800"), "a size must be WIDTHxHEIGHT"),
        (("--format", "gif"), "a camera's format must be one of mjpg, nv12"),
        (("--capture", "pyav"), "--capture pyav does not read this kind of source (camera)"),
        (("--capture", "magic"), "--capture must be one of auto, gstreamer"),
    ],
)
def test_what_a_camera_cannot_do_is_said_before_anything_starts(cli, webcam, tmp_path, command, options, words):
    """Before the model is opened, which here does not exist."""
    saved = ("--save-json", tmp_path / "a.jsonl") if command == "run" else ()
    cli(command, tmp_path / "none.engine", "-c", "3", *options, *saved).sentence(words)
    assert webcam == []
    assert not (tmp_path / "a.jsonl").exists()


def test_the_way_to_a_file_is_said(cli, bundle, tmp_path):
    path = tmp_path / "in.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for k in range(6):
        writer.write(np.full((48, 64, 3), 10 * k, np.uint8))
    writer.release()
    ways = {"auto": "PyAV", "pyav": "PyAV"}
    if found() and gstreamer.has_elements("decodebin", "avidemux", "jpegdec"):
        ways["gstreamer"] = "GStreamer"
    for way, name in ways.items():
        done = cli("run", bundle, "-c", path, "--capture", way, "--every-frame", "--no-window", "--save-json", "-")
        assert f"on {path} by {name}; Ctrl-C ends it" in " ".join(done.err.split()).replace("- ", "-")
        times = [json.loads(line)["time"] for line in done.out.splitlines()]
        np.testing.assert_allclose(times, np.arange(6) / 25, atol=1e-6)


def test_run_has_its_threads_share_memory_before_it_does_anything_else(cli, monkeypatch):
    called = []
    monkeypatch.setattr("ssd_edge.cli.run.share_arenas", lambda: called.append(True))
    cli("run", "none.engine").sentence()
    assert called
