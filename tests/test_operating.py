"""The score chosen for a wanted precision or recall, compared with a search over all scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation.operating import choose
from ssd_edge.evaluation.voc import voc_matches

LABELS = ("bolt", "nut")


def scene(scores, right, label=0):
    """Make one image per detection: right detections lie on their object, wrong ones beside it."""
    detections, targets = [], []
    for score, is_right in zip(scores, right, strict=True):
        box = np.asarray([[0, 0, 10, 10]], np.float32)
        place = box if is_right else box + np.float32(50)
        detections.append(Detections(place, np.asarray([score], np.float32), np.asarray([label])))
        targets.append(Target.of(box, [label]))
    return detections, targets


def matched(detections, targets):
    return [voc_matches(detections, targets, label) for label in range(len(LABELS))]


def test_by_hand():
    """The detections are right, right, wrong, right, wrong at 0.9 … 0.5; there are five objects."""
    case = scene([0.9, 0.8, 0.7, 0.6, 0.5], [True, True, False, True, False])
    precise, nut = choose(matched(*case), LABELS, "precision", 0.75)
    assert (precise.score, precise.precision, precise.recall) == pytest.approx((0.6, 0.75, 0.6))
    assert (nut.num_objects, nut.score) == (0, None)
    assert choose(matched(*case), LABELS, "precision", 1.0)[0].score == pytest.approx(0.8)
    assert choose(matched(*case), LABELS, "recall", 0.4)[0].score == pytest.approx(0.8)
    assert choose(matched(*case), LABELS, "recall", 0.6)[0].score == pytest.approx(0.6)
    assert choose(matched(*case), LABELS, "recall", 0.61)[0].score is None


def test_detections_of_one_score_are_shown_together():
    case = scene([0.9, 0.9, 0.5], [True, False, True])
    assert choose(matched(*case), LABELS, "precision", 1.0)[0].score is None
    assert choose(matched(*case), LABELS, "recall", 0.3)[0].score == pytest.approx(0.9)
    assert choose(matched(*case), LABELS, "recall", 0.3)[0].precision == 0.5


def test_no_detections_and_no_objects():
    empty = Detections.empty()
    objects = Target.of([[0, 0, 9, 9]], [0])
    assert choose(matched([empty], [objects]), LABELS, "recall", 0.5)[0].score is None
    assert choose(matched([], []), LABELS, "precision", 0.5)[1].score is None


def test_difficult_objects_count_for_nothing():
    (detections, *_), _ = scene([0.9], [True])
    target = Target.of([[0, 0, 10, 10]], [0], difficult=[True])
    (bolt, _) = choose(matched([detections], [target]), LABELS, "precision", 0.5)
    assert (bolt.num_objects, bolt.score) == (0, None)


@pytest.mark.slow
@given(
    rows=st.lists(st.tuples(st.sampled_from([0.125, 0.25, 0.5, 0.75, 0.875]), st.booleans()), min_size=1, max_size=12),
    wish=st.sampled_from(["precision", "recall"]),
    value=st.sampled_from([0.1, 0.5, 0.75, 0.9, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_no_other_score_is_better(rows, wish, value):
    scores, right = np.asarray([row[0] for row in rows]), np.asarray([row[1] for row in rows])
    point = choose(matched(*scene(scores, right)), LABELS, wish, value)[0]
    fulfils = {}
    for score in sorted(set(scores)):
        shown = scores >= score
        numbers = {"precision": right[shown].mean(), "recall": right[shown].sum() / len(rows)}
        if numbers[wish] >= value:
            fulfils[score] = numbers
    if not fulfils:
        assert point.score is None
    else:
        best = min(fulfils) if wish == "precision" else max(fulfils)
        assert point.score == best
        assert (point.precision, point.recall) == pytest.approx(tuple(fulfils[best].values()))
