"""Recordings are replayed to the last bit, a fault is located in its stage, and damage is told."""

from __future__ import annotations

import numpy as np
import pytest

from ssd_edge.engines.opening import open_model
from ssd_edge.errors import ModelError, RecordingError
from ssd_edge.outputs.limits import Limit
from ssd_edge.pixels import RawFrame, packed
from ssd_edge.replay.check import replayed
from ssd_edge.replay.reading import open_recording
from ssd_edge.replay.stages import STAGES
from ssd_edge.stream.sources import open_source
from tests.models_for_tests import write_tiny
from tests.replay.worlds import WATCH, Limited, Pictures, record, sections, with_fault


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, bundle):
    """A recording of 12 frames in which objects are followed; tests must not change it."""
    folder = tmp_path_factory.mktemp("tracked")
    record(folder, bundle, Pictures(12), watch=WATCH)
    return folder


def verdict_of(folder, model, **settings):
    recording = open_recording(folder)
    with open_model(model) as engine:
        return replayed(recording, engine, **settings), recording


def test_a_tracked_run_is_equal_to_the_last_bit_in_every_stage(tracked, bundle):
    seen = []
    verdict, recording = verdict_of(tracked, bundle, on_frame=lambda shot, frame, every, shown: seen.append(len(shown)))
    assert verdict.equal
    assert verdict.frames == 12
    assert verdict.compared == tuple(STAGES)
    assert not (verdict.missing)
    assert not (verdict.untracked)
    assert not (verdict.other_detections)
    assert not (recording.faults())
    assert sum(seen) > 12, "the test needs objects that are followed"


def test_realtime_keeps_the_times_between_frames(tmp_path, bundle):
    record(tmp_path, bundle, Pictures(2))
    recording = open_recording(tmp_path)
    first, second = [placed.shot.captured for _, placed in recording.runs[0].shots()]
    times = []
    verdict, _ = verdict_of(
        tmp_path, bundle, realtime=True, on_frame=lambda shot, frame, every, shown: times.append(frame.captured)
    )
    assert verdict.equal
    assert times[1] - times[0] >= second - first - 0.01


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("frame", [0, 5, 11])
def test_a_fault_of_one_level_is_located_in_its_stage(stage, frame, tracked, bundle, monkeypatch):
    recording = open_recording(tracked)
    with open_model(bundle) as engine:
        with_fault(stage, monkeypatch, engine, frame)
        verdict = replayed(recording, engine)
    assert verdict.first is not None
    assert (verdict.first.stage, verdict.first.number) == (stage, frame)
    assert not verdict.equal
    assert verdict.different == {stage: 1}


def test_another_engine_differs_in_its_network(tracked, tmp_path):
    other = write_tiny(tmp_path / "other.onnx", seed=1)
    verdict, _ = verdict_of(tracked, other)
    assert verdict.first is not None
    assert verdict.first.stage == "network"
    assert verdict.other_detections == 12
    assert verdict.untracked == 11, "what follows from other detections is not blamed on the tracker"


def test_an_engine_of_other_classes_is_refused(tracked, tmp_path):
    from tests.helpers import small_spec

    other = write_tiny(tmp_path / "other.onnx", small_spec(labels=("bolt", "cat")))
    with pytest.raises(ModelError, match="classes bolt, nut, but the engine has bolt, cat"):
        verdict_of(tracked, other)


@pytest.mark.parametrize("pixel_format", ["NV12", "I420", "YUYV", "GRAY8", "BGRx"])
@pytest.mark.parametrize("size", [(24, 32), (23, 31)])
def test_frames_of_each_format_are_kept_without_loss(pixel_format, size, tmp_path, bundle):
    def drawn(index):
        layout = packed(pixel_format, size)
        return RawFrame(np.random.default_rng(index).integers(0, 256, layout.nbytes, np.uint8), layout)

    record(tmp_path, bundle, Pictures(2, drawn))
    verdict, _ = verdict_of(tmp_path, bundle)
    assert verdict.equal


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_picture_files_are_kept_as_they_are(suffix, tmp_path, bundle):
    import cv2

    from tests.replay.worlds import picture

    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        cv2.imwrite(str(photos / f"{index}{suffix}"), picture(index))
    record(tmp_path / "rec", bundle, open_source(str(photos)))
    recording = open_recording(tmp_path / "rec")
    kept = [placed.shot.picture.data for _, placed in recording.runs[0].shots()]
    assert kept == [[(photos / f"{index}{suffix}").read_bytes()] for index in range(3)]
    verdict, _ = verdict_of(tmp_path / "rec", bundle)
    assert verdict.equal
    assert verdict.frames == 3


def test_a_network_cameras_jpeg_is_kept_as_it_arrived(tmp_path, bundle):
    import cv2

    from tests.stream.test_sources import grey, mjpeg_camera

    with mjpeg_camera(frames=40) as address, open_source(address) as source:
        record(tmp_path, bundle, Limited(source, 3))
    shots = [placed.shot for _, placed in open_recording(tmp_path).runs[0].shots()]
    assert [shot.picture.form for shot in shots] == ["mjpeg"] * 3
    assert shots[0].picture.data == [cv2.imencode(".jpg", grey(99))[1].tobytes()]
    verdict, _ = verdict_of(tmp_path, bundle)
    assert verdict.equal
    assert verdict.frames == 3


def test_sections_are_one_run_and_each_can_be_replayed_alone(tmp_path, bundle):
    record(tmp_path, bundle, Pictures(9), watch=WATCH, limit=Limit(size=8000))
    assert len(sections(tmp_path)) >= 3
    verdict, _ = verdict_of(tmp_path, bundle)
    assert verdict.equal
    assert verdict.frames == 9
    assert not verdict.untracked
    alone, _ = verdict_of(sections(tmp_path)[1], bundle)
    assert alone.equal
    assert alone.missing > 0
    assert alone.untracked == alone.frames, "the tracker's past is missing"


def test_a_section_that_was_removed_is_told(tmp_path, bundle):
    record(tmp_path, bundle, Pictures(9), limit=Limit(size=8000))
    removed = open_recording(sections(tmp_path)[1])
    lost = sum(1 for _ in removed.runs[0].shots())
    sections(tmp_path)[1].unlink()
    verdict, _ = verdict_of(tmp_path, bundle)
    assert verdict.equal
    assert verdict.missing == lost
    assert verdict.frames == 9 - lost


def test_frames_that_did_not_reach_the_recorder_are_told(tmp_path, bundle):
    record(tmp_path, bundle, Pictures(8), watch=WATCH, lost=lambda index: index in {3, 4})
    verdict, _ = verdict_of(tmp_path, bundle)
    assert (verdict.frames, verdict.missing, verdict.untracked) == (6, 2, 3)
    assert verdict.equal, "the tracks of the first three are compared, and right"


def test_two_runs_in_one_folder_are_both_replayed(tmp_path, bundle):
    record(tmp_path, bundle, Pictures(3), watch=WATCH, run="a")
    record(tmp_path, bundle, Pictures(4), watch=WATCH, run="b")
    verdict, recording = verdict_of(tmp_path, bundle)
    assert len(recording.runs) == 2
    assert verdict.equal
    assert verdict.frames == 7
    assert not verdict.untracked


def test_several_cameras_need_a_name(tmp_path, bundle):
    for camera in ("door", "gate"):
        record(tmp_path, bundle, Pictures(1), camera=camera, run=camera)
    with pytest.raises(RecordingError, match=r"cameras door, gate: name one, as in ssd-edge replay .* --camera door"):
        open_recording(tmp_path)
    assert open_recording(tmp_path, "gate").camera == "gate"
    with pytest.raises(RecordingError, match="no camera yard, but door, gate"):
        open_recording(tmp_path, "yard")


def test_a_source_without_frames_leaves_no_recording(tmp_path, bundle):
    record(tmp_path, bundle, Pictures(0))
    assert not sections(tmp_path)
    with pytest.raises(RecordingError, match="holds no recording"):
        open_recording(tmp_path)
    with pytest.raises(RecordingError, match="there is no recording"):
        open_recording(tmp_path / "nothing")
