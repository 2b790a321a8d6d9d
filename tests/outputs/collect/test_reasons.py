"""Which frames are hard: each reason by itself, and at random against its definition; the quiet ones by the clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ssd_edge.detections import Detections
from ssd_edge.outputs.collect.reasons import CLOSE, Chooser, Hard, Shot, disagreement
from ssd_edge.outputs.collect.settings import FAINT, NEAR, lowest_followed, lowest_score
from tests.outputs.collect.worlds import BOX, NAMES, OTHER_BOX, SURE, found, frame
from tests.outputs.worlds import NOTHING, blank

EACH = (0.5, 0.3)
MOVED = (24.0, 20.0, 64.0, 60.0)


def hard_of(sequence: Sequence[Detections], every: float = 0.1, quiet: float = 600.0) -> list[tuple[int, str, str]]:
    """The index, kind and sentence of each hard frame."""
    chooser, all_hard = Chooser(NAMES, EACH, quiet), list[Hard]()
    for index, detections in enumerate(sequence):
        all_hard += chooser.update(Shot(blank(index, position=index * every), detections), index * every)
    return [(one.shot.frame.index, one.kind, one.text) for one in all_hard]


def test_what_is_sure_and_steady_is_not_hard() -> None:
    assert hard_of([SURE] * 50) == []
    assert hard_of([NOTHING] * 50) == []
    assert hard_of([NOTHING, *[SURE] * 30, *[NOTHING] * 30]) == []


@pytest.mark.parametrize("missed", [1, 2, 3])
def test_an_object_missed_for_a_few_frames(missed: int) -> None:
    told = "bolt missed for " + ("1 frame" if missed == 1 else f"{missed} frames")
    assert hard_of([*[SURE] * 10, *[NOTHING] * missed, *[SURE] * 10]) == [(10, "flicker", told)]


def test_an_object_gone_for_longer_has_not_flickered() -> None:
    assert hard_of([*[SURE] * 10, *[NOTHING] * 4, *[SURE] * 10]) == []


@pytest.mark.parametrize("seen", [1, 2, 3])
def test_an_object_seen_in_a_few_frames_only(seen: int) -> None:
    told = "bolt seen in " + ("1 frame" if seen == 1 else f"{seen} frames") + " only"
    assert hard_of([*[NOTHING] * 5, *[SURE] * seen, *[NOTHING] * 20]) == [(5, "flicker", told)]


def test_an_object_of_another_class_in_the_same_place() -> None:
    nut = found((0.9, 1, MOVED))
    assert (10, "class", "bolt becomes nut") in hard_of([*[SURE] * 10, *[nut] * 10])
    elsewhere = found((0.9, 1, OTHER_BOX))
    assert all(kind != "class" for _, kind, _ in hard_of([*[SURE] * 10, *[elsewhere] * 10]))


def test_two_classes_compete_for_an_object() -> None:
    assert hard_of([found((0.9, 0, BOX), (0.06, 1, MOVED))]) == [(0, "class", "bolt 0.90 or nut 0.06")]
    assert hard_of([found((0.9, 0, BOX), (0.04, 1, MOVED))]) == []  # fainter than what counts
    assert hard_of([found((0.9, 0, BOX), (0.06, 1, OTHER_BOX))]) == []
    assert hard_of([found((0.9, 0, BOX), (0.2, 0, MOVED))]) == []
    chooser = Chooser(NAMES, EACH, 600)
    picture = blank(0)
    object.__setattr__(picture, "file", "0.jpg")
    apart = [(float(x), 0.0, float(x) + 40, 40.0) for x in (0, 100, 200)]
    several = found(*((0.7, 1, box) for box in apart), *((0.2, 0, box) for box in apart[:2]), (0.1, 0, apart[0]))
    (hard,) = chooser.update(Shot(picture, several), 0.0)
    assert (hard.kind, hard.doubts) == ("class", 2)  # objects, not pairs of detections


def test_frames_far_apart_and_pictures_say_nothing_of_flicker() -> None:
    sequence = [*[SURE] * 10, NOTHING, *[SURE] * 10]
    assert hard_of(sequence, every=0.5) == []
    chooser = Chooser(NAMES, EACH, 600)
    for index, detections in enumerate(sequence):
        still = blank(index)
        object.__setattr__(still, "file", f"{index}.jpg")
        assert chooser.update(Shot(still, detections), index * 0.1) == []


def test_unsure_is_a_score_close_to_its_own_threshold() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        count = int(rng.integers(0, 4))
        objects = [(float(s), int(k), BOX) for s, k in zip(rng.random(count), rng.integers(0, 2, count), strict=True)]
        detections = found(*objects)
        expected = any(abs(np.float32(s) - np.float32(EACH[k])) <= np.float32(CLOSE) for s, k, _ in objects)
        kinds = [kind for _, kind, _ in hard_of([detections]) if kind != "class"]
        assert kinds == ["unsure"] * expected


def test_quiet_frames_come_so_often_and_never_soon_after_an_object() -> None:
    rng = np.random.default_rng(6)
    sequence = [SURE if rng.random() < 0.02 else found((0.2, 0, BOX)) for _ in range(3000)]
    quiet = [index for index, kind, _ in hard_of(sequence, every=1.0, quiet=30.0) if kind == "quiet"]
    expected, since = [], 0
    for index, detections in enumerate(sequence):
        if index == 0 or detections is SURE:
            since = index
        elif index - since >= 30:
            expected.append(index)
            since = index
    assert quiet == expected
    assert expected


def disagreed(ours: Detections, theirs: Detections) -> tuple[str, int]:
    """What two engines disagree about, and in how many objects."""
    ((text, doubts),) = [(one.text, one.doubts) for one in disagreement(Shot(blank(0), ours), theirs, NAMES, EACH)] or [
        ("", 0)
    ]
    return text, doubts


def test_what_one_engine_shows_and_the_other_does_not_see() -> None:
    assert disagreed(SURE, SURE) == disagreed(NOTHING, NOTHING) == ("", 0)
    assert disagreed(SURE, NOTHING) == ("bolt 0.90 only here", 1)
    assert disagreed(NOTHING, SURE) == ("bolt 0.90 only by the other engine", 1)
    other_class, elsewhere = found((0.9, 1, BOX)), found((0.9, 0, OTHER_BOX))
    for other in (other_class, elsewhere):
        text, doubts = disagreed(SURE, other)
        assert text.count("only") == doubts == 2
    many = found(*[(0.9, 0, (50.0 * k, 0.0, 50.0 * k + 20, 20.0)) for k in range(7)])
    text, doubts = disagreed(many, NOTHING)
    assert text.endswith(" and 4 more")
    assert doubts == 7


@pytest.mark.parametrize("label", [0, 1])
def test_engines_agree_where_the_other_scores_somewhat_lower(label: int) -> None:
    ours = found((EACH[label] + 0.01, label, BOX))
    for below, agrees in ((NEAR - 0.01, True), (NEAR + 0.02, False)):
        theirs = found((EACH[label] - below, label, MOVED))
        assert (disagreed(ours, theirs) == ("", 0)) == agrees


def test_doubts_are_objects() -> None:
    """Two of three scores are close to their class's threshold; the nearest is told."""
    several = found((0.9, 0, BOX), (0.45, 0, OTHER_BOX), (0.33, 1, (200.0, 20.0, 240.0, 60.0)))
    (hard,) = Chooser(NAMES, EACH, 600.0).update(Shot(blank(0, position=0.0), several), 0.0)
    assert (hard.kind, hard.text, hard.doubts) == ("unsure", "nut scores 0.33, shown from 0.30", 2)


def test_the_lowest_score_is_enough_for_every_reason() -> None:
    assert lowest_followed(EACH) == pytest.approx(0.3 - max(NEAR, CLOSE))
    assert lowest_score(EACH) == FAINT
    assert lowest_score([0.05]) == lowest_followed([0.05]) == 0.0


def test_frames_that_are_held_are_few() -> None:
    chooser, held = Chooser(NAMES, EACH, 600), set[int]()
    rng = np.random.default_rng(7)
    for index in range(200):
        objects = [(0.9, 0, (30.0 * k, 0.0, 30.0 * k + 20, 20.0)) for k in range(12) if rng.random() < 0.8]
        chooser.update(Shot(frame(index, 0), found(*objects)), index * 0.1)
        held.add(len(chooser._flickering._items))
    assert max(held) <= 7
