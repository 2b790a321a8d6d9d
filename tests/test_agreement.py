"""Comparison of two lists of detections; each expected number is worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.agreement import TOLERANCES, Agreement, Tolerance, compare, unmatched
from ssd_edge.detections import Detections
from tests.helpers import small_spec

SPEC = small_spec()
TOLERANCE = Tolerance(0.1, 0.9)


def detections(*rows):
    """Make detections from rows of (x1, y1, x2, y2, score, label)."""
    rows = sorted(rows, key=lambda row: -row[4])
    array = np.asarray(rows, np.float32).reshape(-1, 6)
    return Detections(array[:, :4].copy(), array[:, 4].copy(), array[:, 5].astype(np.int64))


def agreement(wanted, other, spec=SPEC, counts=None):
    which = wanted.scores >= 0.3 if counts is None else np.asarray(counts)
    return compare([wanted], [which], [other], TOLERANCE, 0.3, spec)


A = (0, 0, 10, 10, 0.8, 0)
B = (20, 20, 30, 30, 0.6, 1)


def test_the_same_matches():
    result = agreement(detections(A, B), detections(A, B))
    assert (result.counted, result.matched, result.extra, result.largest_difference) == (2, 2, 0, 0.0)
    assert result.holds


def test_nothing_agrees_with_nothing():
    result = compare([], [], [], TOLERANCE, 0.3, SPEC)
    assert (result.images, result.counted, result.share) == (0, 0, 1.0)
    assert result.holds
    assert agreement(Detections.empty(), Detections.empty()).holds
    assert not agreement(detections(A), Detections.empty()).holds


def test_class_place_and_score_have_to_be_the_same():
    assert agreement(detections(A), detections((0, 0, 10, 10, 0.8, 1))).matched == 0
    assert agreement(detections(A), detections((1, 0, 11, 10, 0.8, 0))).matched == 0  # IoU 9/11
    assert agreement(detections(A), detections((0, 0, 10, 9.1, 0.8, 0))).matched == 1  # IoU 0.91
    low = agreement(detections(A), detections((0, 0, 10, 10, 0.65, 0)))
    assert (low.matched, round(low.largest_difference, 3)) == (0, 0.15)
    assert agreement(detections(A), detections((0, 0, 10, 10, 0.72, 0))).matched == 1


def test_detections_that_do_not_count_need_not_be_found():
    assert agreement(detections(A, B), detections(A), counts=[True, False]).holds
    low = (40, 40, 50, 50, 0.1, 0)
    assert agreement(detections(A, low), detections(A)).counted == 1


def test_extra_detections_count_against_the_engine():
    ghost = (50, 50, 60, 60, 0.9, 0)
    assert agreement(detections(A), detections(A, ghost)).extra == 1
    assert not agreement(detections(A), detections(A, ghost)).holds
    # A box that NMS may have chosen instead of a reference box is not extra, nor is one with a low score.
    assert agreement(detections(A), detections(A, (0, 0, 10, 7, 0.7, 0))).extra == 0
    assert agreement(detections(A), detections(A, (50, 50, 60, 60, 0.39, 0))).extra == 0


def test_nothing_below_a_full_list_is_extra():
    ghost = (50, 50, 60, 60, 0.85, 0)
    assert agreement(detections(A), detections(A, ghost), small_spec(max_detections=1)).extra == 0
    assert agreement(detections(A), detections(A, ghost), small_spec(max_detections=2)).extra == 1


@pytest.mark.parametrize(
    ("total", "lost", "holds"), [(3, 1, False), (4, 1, True), (4, 2, False), (20, 2, True), (20, 3, False)]
)
def test_one_of_four_may_be_lost_to_chance(total, lost, holds):
    result = Agreement(1, TOLERANCE, {"bolt": (total, total - lost)}, 0, 0.0)
    assert result.holds is holds
    assert f"{total - lost} of {total} detections in 1 images match" in result.sentence()


def test_the_tolerance_explains_itself():
    said = agreement(detections(A), detections((0, 0, 10, 10, 0.5, 0))).sentence()
    for words in ("0 of 1", "difference 0.300", "IoU ≥ 0.9", "score within 0.1", "90 % are needed", "chance"):
        assert words in said


def test_less_exact_precisions_have_wider_tolerances():
    ordered = [TOLERANCES[name] for name in ("FP32", "FP16", "BF16", "INT8")]
    assert ordered == sorted(ordered, key=lambda tolerance: (tolerance.score, -tolerance.share))


boxes = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(5, 30), st.integers(5, 30))
rows = st.lists(st.tuples(boxes, st.floats(0.0625, 1, width=32), st.integers(0, 1)), max_size=12)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_whatever_is_compared_with_itself_agrees(drawn):
    one = detections(*((x, y, x + w, y + h, score, label) for (x, y, w, h), score, label in drawn))
    result = agreement(one, one)
    assert result.matched == result.counted == int((one.scores >= 0.3).sum())
    assert (result.extra, result.largest_difference) == (0, 0.0)


@given(rows, rows)
@settings(max_examples=60, deadline=None)
def test_numbers_stay_within_their_bounds(first, second):
    one, other = (
        detections(*((x, y, x + w, y + h, score, label) for (x, y, w, h), score, label in drawn))
        for drawn in (first, second)
    )
    result = agreement(one, other)
    assert 0 <= result.matched <= result.counted == int((one.scores >= 0.3).sum())
    assert 0 <= result.extra <= len(other)
    assert 0 <= result.share <= 1


def test_a_class_that_is_lost_is_not_outvoted():
    """If two of three large objects are lost among a hundred small ones, 98 % still match, but the engine is wrong."""
    of_class = {"bolt": (100, 100), "nut": (3, 1)}
    result = Agreement(8, TOLERANCE, of_class, 0, 0.0)
    assert result.share > 0.98
    assert result.lost == ("nut",)
    assert not result.holds
    assert ", 1 of 3 of class nut" in result.sentence()
    assert Agreement(8, TOLERANCE, {"bolt": (100, 100), "nut": (4, 3)}, 0, 0.0).holds


def boxes(*found):
    """Make detections of (x, label), 10 wide and high."""
    placed = np.array([[x, 0, x + 10, 10] for x, _ in found], np.float32).reshape(-1, 4)
    return Detections(placed, np.ones(len(found), np.float32), np.array([label for _, label in found], np.int64))


@pytest.mark.parametrize(
    ("first", "second", "number"),
    [
        ([], [], 0),
        ([(0, 0)], [], 1),
        ([(0, 0)], [(3, 0)], 0),  # IoU 7 / 13
        ([(0, 0)], [(4, 0)], 2),  # IoU 6 / 14
        ([(0, 0)], [(0, 1)], 2),
        ([(0, 0), (1, 0)], [(1, 0)], 1),  # each has one partner at most
        ([(0, 0), (3, 0)], [(1, 0), (3, 0)], 0),
    ],
)
def test_detections_of_two_models_without_a_partner(first, second, number):
    assert unmatched(boxes(*first), boxes(*second)) == number
    assert unmatched(boxes(*second), boxes(*first)) == number
