"""Intervals of an AP and of a change: against tables, exact cases, pairs of evaluations, and a known truth."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from intervals import rows

from ssd_edge.calibration.certainty import Certainty, loss, outlook
from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation import Evaluation, evaluate
from ssd_edge.evaluation.intervals import Change, ap_interval, student_quantile, student_share
from ssd_edge.evaluation.leaks import Optimism
from ssd_edge.evaluation.resampling import HALVES, OVERALL

BOX = [10, 10, 50, 50]
LABELS = ("bolt", "nut")


def few(found: list[bool], label: int = 0) -> tuple[list[Detections], list[Target]]:
    """Make images with one object each, which is found or missed."""
    targets = [Target.of([BOX], [label]) for _ in found]
    one = Detections(np.float32([BOX]), np.float32([0.9]), np.array([label]))
    return [one if hit else Detections.empty() for hit in found], targets


def share_found(number: int, of: int, scenes: list[int] | None = None) -> Evaluation:
    return evaluate(*few([True] * number + [False] * (of - number)), LABELS, scenes)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (9, 2.2622), (49, 2.0096), (299, 1.9679), (10**6, 1.9600)]
)
def test_student_s_distribution_is_that_of_tables(freedom, quantile):
    """From 2000 on, t is off by 0.0012."""
    assert student_quantile(freedom) == pytest.approx(quantile, abs=0.0015 if freedom > 2000 else 1e-4)
    assert student_share(student_quantile(freedom), freedom) == pytest.approx(0.975, abs=1e-5)
    assert student_share(0, freedom) == pytest.approx(0.5)


def test_the_interval_of_a_share():
    """With one object an image and no false detection, VOC's AP is the share found, whose error is √(p (1 − p) / n).

    A thousand halves give that to 2 %; the tolerance is three times as much of the half width.
    """
    result = share_found(60, 100)
    low, high = result.intervals.overall["voc_map50"]
    half = student_quantile(99) * math.sqrt(0.6 * 0.4 / 99) / (0.6 * 0.4)
    wanted = [1 / (1 + math.exp(-(math.log(0.6 / 0.4) + sign * half))) for sign in (-1, 1)]
    assert (low, high) == pytest.approx(wanted, abs=0.06 * 0.1)
    assert result.intervals.per_class[0]["voc_ap50"] == (low, high)
    assert result.intervals.per_class[1] == dict.fromkeys(("ap", "ap50", "voc_ap50", "voc07_ap50"))


def test_images_of_one_scene_count_as_one():
    """Twenty frames of each of five scenes say as much as five images."""
    frames = share_found(60, 100, [k // 20 for k in range(100)]).intervals.overall["voc_map50"]
    images = share_found(3, 5).intervals.overall["voc_map50"]
    assert frames == pytest.approx(images, abs=1e-9)
    assert share_found(60, 100, [0] * 100).intervals.overall["voc_map50"] is None


@pytest.mark.parametrize(("found", "low", "high"), [(20, 0.025 ** (1 / 20), 1), (0, 0, 1 - 0.025 ** (1 / 20))])
def test_where_nothing_varies_the_bound_is_that_of_clopper_and_pearson(found, low, high):
    assert share_found(found, 20).intervals.overall["voc_map50"] == pytest.approx((low, high))


@pytest.mark.parametrize("images", [0, 1])
def test_too_few_images_have_no_interval(images):
    result = share_found(images, images)
    assert set(result.intervals.overall.values()) == {None}
    assert result.change_from(result) is None
    assert ap_interval(None, np.zeros(3), 5) is None


def test_json_has_the_intervals():
    value = json.loads(json.dumps(share_found(6, 10).to_json(), allow_nan=False))
    assert value["confidence"] == 0.95
    assert value["num_scenes"] == 10
    assert set(value["intervals"]) == set(OVERALL)
    low, high = value["per_class"][0]["intervals"]["ap50"]
    assert low < value["per_class"][0]["ap50"] < high
    assert "matched" not in value


def test_a_change_is_paired():
    """Ten of 100 images differ: the error is that of the difference, √(p (1 − p) / n), not that of two APs."""
    change = share_found(60, 100).change_from(share_found(70, 100), "voc_map50")
    assert change.value == pytest.approx(-0.1)
    assert change.error == pytest.approx(math.sqrt(0.1 * 0.9 / 99), rel=0.06)
    assert change.interval == pytest.approx((-0.1 - change.margin, -0.1 + change.margin))
    of_class = share_found(60, 100).change_from(share_found(70, 100), "voc_ap50", 0)
    assert of_class == change
    assert share_found(60, 100).change_from(share_found(70, 100), "ap", 1) is None


def test_the_same_detections_do_not_change():
    change = share_found(60, 100).change_from(share_found(60, 100))
    assert change.interval == (0, 0)
    assert (change.confidence_above(0), change.confidence_above(0.01)) == (1, 0)


def test_evaluations_of_other_images_cannot_be_paired():
    with pytest.raises(ValueError, match="same images"):
        share_found(3, 5).change_from(share_found(3, 6))
    with pytest.raises(ValueError, match="same images"):
        evaluate(*few([True] * 5, 1), LABELS).change_from(share_found(5, 5))


def test_confidence_and_outlook():
    change = Change(-0.003, 0.002, 101)
    assert change.confidence_above(-0.003) == pytest.approx(0.5)
    assert change.confidence_above(-0.003 - student_quantile(100) * 0.002) == pytest.approx(0.975, abs=1e-4)
    assert change.margin_with(4) == pytest.approx(change.margin / 2, rel=0.02)  # but for the smaller t
    certainty = Certainty(change, 0.5, 1)
    assert certainty.confidence == certainty.after_choice == pytest.approx(0.84, abs=0.005)
    assert certainty.sentence() == (
        "0.30 points lost, 95 % interval -0.10 to 0.70, so the budget is kept with a confidence of 84 %; "
        "with 4 times the images it would be about ± 0.20"
    )
    chosen = Certainty(change, 0.5, 3)
    assert chosen.after_choice == pytest.approx(1 - 3 * (1 - certainty.confidence))
    assert "84 %, 52 % or more after the choice among 3 files on these images" in chosen.sentence()
    assert Certainty(change, 0.5, 50).after_choice == 0
    assert "over 99 %" in Certainty(Change(0.0, 0.0, 10), 0.5, 1).sentence()
    assert (loss(Change(0.0, 0.0, 10)), outlook(Change(0.0, 0.0, 10))) == (
        "0.00 points lost, 95 % interval 0.00 to 0.00",
        "with 4 times the images it would be about ± 0.00",
    )


def test_the_optimism_of_known_images():
    """Of 100 images, 20 are known and all found; of the others 40: 0.6 with them and 0.5 without."""
    optimism = Optimism.of(share_found(60, 100), range(20))
    assert (optimism.with_them, optimism.without) == pytest.approx((0.6, 0.5), abs=0.01)  # COCO reads 101 recalls
    assert optimism.change.interval.low > 0.05
    assert optimism.to_json()["known_images"] == 20
    assert Optimism.of(share_found(60, 100), []).change.value == pytest.approx(0)
    assert Optimism.of(share_found(6, 10), range(10)).without is None


def test_halves_of_nothing():
    result = evaluate([], [], LABELS)
    assert result.matched.halves.shape == (HALVES, len(OVERALL) + 4 * 2)
    assert np.isnan(result.matched.halves).all()


def test_the_lower_end_allows_for_the_most_bias_and_the_upper_end_for_none():
    """Halves that are 0.01 above the whole leave at most 0.01 / (2^⅓ − 1) = 0.0385 above many more images."""
    spread = np.tile([-0.02, 0.02], 500)
    plain, lifted = ap_interval(0.6, 0.6 + spread, 100), ap_interval(0.6, 0.61 + spread, 100)
    lowered = ap_interval(0.6 - 0.01 / (2 ** (1 / 3) - 1), 0.5 + spread, 100)
    assert lifted.high == plain.high == ap_interval(0.6, 0.5 + spread, 100).high
    assert lifted.low == pytest.approx(lowered.low, abs=1e-12)
    assert lowered.low < plain.low < 0.6 - 1.9 * 0.02


@pytest.mark.parametrize("number", [2, 5, 40])
def test_two_halves_of_a_division_are_the_whole(number):
    """A share found is a mean over images, so that of a division's halves adds up; the spread is S² / n."""
    matched = share_found(number // 2, number).matched
    column = OVERALL.index("voc_map50")
    first, second = matched.halves[: HALVES // 2, column], matched.halves[HALVES // 2 :, column]
    small = number // 2
    np.testing.assert_allclose((small * first + (number - small) * second) / number, small / number, atol=1e-9)
    if number == 40:
        assert matched.halves[:, column].std() == pytest.approx(math.sqrt(0.25 / 39), rel=0.06)


@pytest.mark.slow
def test_the_intervals_hold_the_truth():
    """Of 30 repetitions, 95 % intervals hold 28.5 in the mean, and fewer than 23 once in 10 000 (binomial)."""
    table = rows((50,), repetitions=30, images=100, processes=1)
    assert len(table) == 12
    assert all(row.coverage >= 23 / 30 for row in table)
    assert np.mean([row.coverage for row in table]) > 0.85
