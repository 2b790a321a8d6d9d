"""What one side finds and the other does not: counts, intervals, the page and the commands."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from ssd_edge.cli.main import app
from ssd_edge.detections import Detections
from ssd_edge.engines.opening import open_model
from ssd_edge.replay.differences import Seen, differences, unmatched
from ssd_edge.replay.page import page
from ssd_edge.replay.reading import open_recording
from ssd_edge.replay.sides import beside, found_by, recorded
from tests.models_for_tests import write_tiny
from tests.replay.worlds import WATCH, Pictures, record

NONE = Detections.empty()


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    return Detections(
        np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[4] for row in rows], np.float32),
        np.array([row[5] for row in rows], np.int64),
    )


def frames(pairs, step=0.5):
    return [Seen(None, k, 0, k, k * step, *pair) for k, pair in enumerate(pairs)]


ONE, MOVED, OTHER_CLASS, FAR = (
    found((0, 0, 10, 10, 0.9, 0)),
    found((0, 0, 10, 9, 0.8, 0)),
    found((0, 0, 10, 10, 0.9, 1)),
    found((20, 20, 30, 30, 0.9, 0)),
)


@pytest.mark.parametrize(
    ("first", "second", "alone"),
    [
        (ONE, MOVED, ([False], [False])),
        (ONE, OTHER_CLASS, ([True], [True])),
        (ONE, FAR, ([True], [True])),
        (ONE, NONE, ([True], [])),
        (NONE, ONE, ([], [True])),
        (NONE, NONE, ([], [])),
    ],
)
def test_detections_of_one_class_in_one_place_are_the_same(first, second, alone):
    result = unmatched(first, second)
    assert (result.first.tolist(), result.second.tolist()) == alone


def test_counts_are_summed_by_class_and_the_worst_frame_of_a_block_is_kept():
    result = differences(frames([(ONE, MOVED), (ONE, NONE), (NONE, OTHER_CLASS), (ONE, ONE)]), ["a", "b", "c"], 9)
    assert (result.frames, result.different, result.blocks) == (4, 2, 1)
    assert [(one.label, one.both, one.first, one.second) for one in result.classes] == [("a", 2, 1, 0), ("b", 0, 0, 1)]
    assert result.overall.second_has == pytest.approx(2 / 3)
    assert result.overall.second_has_interval is None, "one block says nothing of others"
    assert len(result.worst) == 1


def test_intervals_come_from_blocks_not_from_frames():
    """In half of 16 blocks the second finds nothing: the interval is as wide as 16 coins have it, not 64."""
    pairs = [(ONE, ONE if (k // 4) % 2 else NONE) for k in range(64)]
    low, high = differences(frames(pairs), ["a"], 0).overall.second_has_interval
    assert low < 0.5 - 0.2
    assert high > 0.5 + 0.2


def test_where_nothing_differs_the_interval_is_not_empty():
    low, high = differences(frames([(ONE, ONE)] * 64), ["a"], 0).overall.second_has_interval
    assert 0.7 < low < 0.9
    assert high == 1


def test_no_frames_are_no_error():
    result = differences([], ["a"], 3)
    assert (result.frames, result.overall.both, result.overall.second_has) == (0, 0, None)


@pytest.fixture(scope="module")
def world(tmp_path_factory, heads_onnx):
    """A recording and two models; tests must not change them."""
    folder = tmp_path_factory.mktemp("two")
    record(folder / "rec", heads_onnx, Pictures(6), watch=WATCH)
    write_tiny(folder / "other.onnx", seed=1)
    return folder


def test_the_page_shows_both_sides_and_escapes_names(world, heads_onnx):
    recording = open_recording(world / "rec")
    with open_model(world / "other.onnx") as engine:
        sides = recorded(recording), found_by(recording, "<b>other</b>", engine)
    result = differences(list(beside(recording, *sides)), recording.labels, 4)
    html = page(recording, sides, result)
    assert "&lt;b&gt;other" in html
    assert "<b>other" not in html
    assert html.count("data:image/jpeg") == len(result.worst) > 0
    assert result.overall.first > 0


def test_an_engine_beside_its_own_recording_differs_in_nothing(world, heads_onnx):
    recording = open_recording(world / "rec")
    with open_model(heads_onnx) as engine:
        sides = recorded(recording), found_by(recording, "same", engine)
    result = differences(list(beside(recording, *sides)), recording.labels, 4)
    assert (result.different, result.overall.first, result.overall.second) == (0, 0, 0)
    assert result.overall.both > 0
    assert sides[1].verdict.equal


def run(*words):
    result = CliRunner().invoke(app, [*map(str, words)])
    return result.exit_code, result.stdout, result


def test_the_command_repeats_a_run_and_tells_another_engine(world, heads_onnx):
    code, out, _ = run("replay", world / "rec", "--engine", heads_onnx, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["equal"]
    assert told["engine_differs"] == []
    code, out, _ = run("replay", world / "rec", "--engine", world / "other.onnx", "--json")
    told = json.loads(out)
    assert code == 1
    assert told["first"]["stage"] == "network"
    assert "model's files" in told["engine_differs"][0]


def test_the_command_compares_two_engines(world, heads_onnx, tmp_path):
    html = tmp_path / "cmp.html"
    code, out, _ = run("replay", world / "rec", "-e", heads_onnx, "-e", world / "other.onnx", "--page", html, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["frames"] == 6
    assert told["overall"]["first"] > 0
    assert told["speed"]["other.onnx"]["fps"] > 0
    assert "Where they differ most" in html.read_text()


def test_run_records_what_replay_repeats(heads_onnx, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    import cv2

    from tests.replay.worlds import picture

    for index in range(3):
        cv2.imwrite(str(photos / f"{index}.png"), picture(index))
    code, _, result = run(
        "run", heads_onnx, "-c", f"a={photos}", "-c", f"b={photos}", "--record", tmp_path / "rec", "--min-score", "0.3"
    )
    assert code == 0, result.output
    code, out, _ = run("replay", tmp_path / "rec", "--engine", heads_onnx, "--camera", "b", "--json")
    assert code == 0
    assert json.loads(out)["frames"] == 3


def test_a_file_in_place_of_the_folder_is_refused_before_anything_starts(heads_onnx, tmp_path):
    (tmp_path / "rec").write_text("a file")
    _, _, result = run("run", heads_onnx, "-c", "synthetic", "--record", tmp_path / "rec")
    assert "is a file: name a folder" in str(result.exception)
