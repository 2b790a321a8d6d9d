from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.detections import Detections
from ssd_edge.tracking.tracker import PUBLISHED, Settings, State, Track, Tracker
from tests.tracking.scenes import FPS, at, seen


def make(labels: int = 2, **others: float) -> Tracker:
    return Tracker(Settings([0.6] * labels, **others))


def ids(tracks: list[Track], state: State = State.PRESENT) -> list[int]:
    return [track.id for track in tracks if track.state is state]


def test_an_object_keeps_its_id_and_reports_what_was_detected() -> None:
    tracker = make()
    for frame in range(60):
        box = at(50 + 5 * frame, 100)
        (track,) = tracker.update(seen([box], [0.8], [1]), frame / FPS)
        assert (track.id, track.label, track.state, track.detection) == (1, 1, State.PRESENT, 0)
        assert track.box.tolist() == box
        assert track.score == pytest.approx(0.8)
        assert track.age == pytest.approx(frame / FPS)


def test_a_new_object_gets_an_id_when_it_is_seen_again() -> None:
    tracker = make()
    tracker.update(Detections.empty(), 0.0)
    assert tracker.update(seen([at(50, 50)]), 1 / FPS) == []
    assert ids(tracker.update(seen([at(50, 50)]), 2 / FPS)) == [1]
    # one that is seen once only uses up no id
    tracker.update(seen([at(50, 50), at(300, 300)]), 3 / FPS)
    tracker.update(seen([at(50, 50)]), 4 / FPS)
    for frame in (5, 6):
        tracks = tracker.update(seen([at(50, 50), at(400, 100)]), frame / FPS)
    assert ids(tracks) == [1, 2]


def test_an_object_is_lost_found_again_and_forgotten() -> None:
    tracker = make(lost=0.5)
    for frame in range(20):
        tracker.update(seen([at(50 + 4 * frame, 100)]), frame / FPS)
    for frame in range(20, 30):
        tracks = tracker.update(Detections.empty(), frame / FPS)
        assert ids(tracks, State.LOST) == [1]
        assert tracks[0].detection == -1
        # it is expected where it would be; the speed is known to a pixel a frame
        assert float(tracks[0].box[[0, 2]].mean()) == pytest.approx(50 + 4 * frame, abs=frame - 18)
    assert ids(tracker.update(seen([at(50 + 4 * 30, 100)]), 30 / FPS)) == [1]
    for frame in range(31, 46):
        assert ids(tracker.update(Detections.empty(), frame / FPS), State.LOST) == [1]
    assert tracker.update(Detections.empty(), 46 / FPS) == []


def test_a_low_score_continues_a_track_and_begins_none() -> None:
    tracker = make()
    tracker.update(seen([at(50, 50)]), 0.0)
    tracks = tracker.update(seen([at(52, 50), at(300, 300)], [0.2, 0.55]), 1 / FPS)
    assert [(track.id, track.detection) for track in tracks] == [(1, 0)]
    tracks = tracker.update(seen([at(54, 50), at(300, 300)], [0.05, 0.59]), 2 / FPS)
    assert (ids(tracks), ids(tracks, State.LOST)) == ([], [1])
    # what is lost is found again by a low score, what is new becomes an object by one
    assert ids(tracker.update(seen([at(56, 50), at(400, 300)], [0.3, 0.7]), 3 / FPS)) == [1]
    assert ids(tracker.update(seen([at(58, 50), at(400, 300)], [0.9, 0.2]), 4 / FPS)) == [1, 2]


def test_a_low_score_finds_only_what_is_present_as_published() -> None:
    tracker = Tracker(Settings([0.6]), PUBLISHED)
    tracker.update(seen([at(50, 50)]), 0.0)
    tracker.update(Detections.empty(), 1 / FPS)
    assert ids(tracker.update(seen([at(50, 50), at(300, 300)], [0.3, 0.7]), 2 / FPS)) == []
    assert ids(tracker.update(seen([at(50, 50), at(300, 300)], [0.9, 0.3]), 3 / FPS)) == [1]


def test_each_class_has_its_threshold() -> None:
    tracker = Tracker(Settings([0.3, 0.8]))
    tracks = tracker.update(seen([at(50, 50), at(200, 50)], [0.35, 0.35], [0, 1]), 0.0)
    assert [track.label for track in tracks] == [0]


def test_a_score_that_begins_a_track_continues_it_whatever_low_is() -> None:
    tracker = Tracker(Settings([0.3, 0.9], low=0.5))
    for frame in range(3):
        tracks = tracker.update(seen([at(50, 50), at(200, 50)], [0.31, 0.31], [0, 1]), frame / FPS)
        assert [track.label for track in tracks] == [0]
    assert ids(tracker.update(seen([at(50, 50)], [0.29]), 3 / FPS)) == []


def test_objects_of_different_classes_are_never_the_same() -> None:
    tracker = make()
    tracker.update(seen([at(50, 50)], labels=[0]), 0.0)
    tracks = tracker.update(seen([at(50, 50)], labels=[1]), 1 / FPS)
    assert [(track.id, track.state) for track in tracks] == [(1, State.LOST)]
    assert ids(tracker.update(seen([at(50, 50)], labels=[1]), 2 / FPS)) == [2]


def test_two_that_pass_each_other_keep_their_ids() -> None:
    tracker = make()
    for frame in range(60):
        boxes = [at(100 + 5 * frame, 100), at(400 - 5 * frame, 115)]
        tracks = tracker.update(seen(boxes), frame / FPS)
    assert [(track.id, track.detection) for track in tracks] == [(1, 0), (2, 1)]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_frames_may_be_dropped_and_come_unevenly(step: int) -> None:
    """Fast objects whose boxes do not overlap from one frame that is seen to the next: time says where they are."""
    tracker, rng = make(), np.random.default_rng(step)
    frame, found = 0, []
    while frame < 200:
        found.append(ids(tracker.update(seen([at(60 + 12 * frame, 100)]), frame / FPS)))
        frame += 1 if frame < 20 else int(rng.integers(1, 2 * step))
    assert found == [[1]] * len(found)


def test_a_clock_that_goes_back_is_no_time() -> None:
    tracker = make()
    for time in (5.0, 5.1, 1.0, 5.2):
        assert ids(tracker.update(seen([at(50, 50)]), time)) == [1]


def test_a_slow_camera_and_a_long_pause_keep_what_stands_still() -> None:
    tracker = make()
    for frame in range(5):
        assert ids(tracker.update(seen([at(50, 50)]), 60.0 * frame)) == [1]
    tracks = tracker.update(seen([at(50, 50)]), 1e7)
    assert ids(tracks) == [1]
    assert np.isfinite(tracks[0].box).all()


def test_a_box_that_is_no_number_is_no_object_for_long() -> None:
    tracker = make()
    for frame in range(4):
        tracks = tracker.update(seen([at(50, 50), [float("nan")] * 4]), frame / FPS)
    assert ids(tracks) == [1]


def test_nothing_is_seen() -> None:
    tracker = make()
    assert [tracker.update(Detections.empty(), frame / FPS) for frame in range(3)] == [[], [], []]


SCENES = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def random_frames(rng: np.random.Generator, frames: int = 30) -> list[Detections]:
    """Objects that wander and are missed, with false ones between them; no two scores are equal."""
    centres, speeds = rng.uniform(0, 300, (8, 2)), rng.normal(0, 4, (8, 2))
    labels = rng.integers(0, 2, 8)
    made = []
    for _ in range(frames):
        centres = centres + speeds
        shown = np.flatnonzero(rng.random(8) < 0.85)
        points = np.concatenate([centres[shown] + rng.normal(0, 2, (len(shown), 2)), rng.uniform(0, 300, (2, 2))])
        boxes = np.concatenate([points - 20, points + 20 + rng.normal(0, 2, points.shape)], axis=1)
        scores = rng.uniform(0.05, 1, len(points))
        made.append(
            Detections(
                boxes.astype(np.float32),
                scores.astype(np.float32),
                np.concatenate([labels[shown], rng.integers(0, 2, 2)]),
            )
        )
    return made


@settings(max_examples=20, deadline=None)
@given(SCENES)
def test_in_every_frame_ids_and_detections_are_used_once(rng: np.random.Generator) -> None:
    tracker, labels, newest = make(), {}, 0
    for frame, detections in enumerate(random_frames(rng)):
        tracks = tracker.update(detections, frame / FPS)
        assert [track.id for track in tracks] == sorted({track.id for track in tracks})
        used = [track.detection for track in tracks if track.state is State.PRESENT]
        assert len(used) == len(set(used))
        for track in tracks:
            assert labels.setdefault(track.id, track.label) == track.label
            if track.state is State.PRESENT:
                assert np.array_equal(track.box, detections.boxes[track.detection])
                assert track.label == detections.labels[track.detection]
        begun = [track.id for track in tracks if track.id > newest]
        assert begun == list(range(newest + 1, newest + 1 + len(begun)))
        newest += len(begun)


@settings(max_examples=20, deadline=None)
@given(SCENES)
def test_the_order_of_detections_does_not_matter(rng: np.random.Generator) -> None:
    first, second, names = make(), make(), {}
    for frame, detections in enumerate(random_frames(rng)):
        order = rng.permutation(len(detections))
        shuffled = Detections(detections.boxes[order], detections.scores[order], detections.labels[order])
        found = {t.detection: t.id for t in first.update(detections, frame / FPS) if t.state is State.PRESENT}
        other = {int(order[t.detection]): t.id for t in second.update(shuffled, frame / FPS) if t.detection >= 0}
        assert found.keys() == other.keys()
        # ids that are given in one frame go by the order of the detections
        assert all(names.setdefault(found[index], other[index]) == other[index] for index in found)


@settings(max_examples=20, deadline=None)
@given(SCENES)
def test_exact_detections_of_objects_apart_keep_their_ids(rng: np.random.Generator) -> None:
    count = 12
    speeds = rng.uniform(-3, 3, (count, 2))
    starts = np.stack([np.arange(count) * 400.0, rng.uniform(0, 400, count)], axis=1)
    tracker = make()
    for frame in range(40):
        shown = rng.permutation(count)
        boxes = [at(*(starts[index] + frame * speeds[index])) for index in shown]
        tracks = tracker.update(seen(boxes), frame / FPS)
        if frame == 0:
            named = {int(shown[track.detection]): track.id for track in tracks}
        assert {int(shown[track.detection]): track.id for track in tracks} == named
