from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
import reference_ap
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ssd_edge.data.dataset import Image, Sample, Target
from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, Result, StageTimes
from ssd_edge.errors import DataError
from ssd_edge.evaluation import Evaluation, evaluate, measure_ap, voc_ap
from ssd_edge.evaluation.coco import NUMBERS
from ssd_edge.evaluation.table import table_of
from tests.helpers import shared

LABELS = ("bolt", "nut")
BOX = (10, 10, 50, 50)
FAR = (200, 200, 240, 240)


def detect(
    boxes: Sequence[Sequence[float]], scores: Sequence[float], labels: Sequence[int] | None = None
) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array([0] * len(boxes) if labels is None else labels, np.int64),
    )


# Published figures


def test_the_coco_numbers_are_the_published_ones() -> None:
    folder = shared("reference/object_detection_metrics")
    result = evaluate(*reference_ap.coco_case(folder))
    assert {name: getattr(result, name) for name in NUMBERS} == pytest.approx(reference_ap.PUBLISHED_COCO, abs=1e-6)


@pytest.mark.parametrize("threshold", reference_ap.PUBLISHED_VOC)
def test_the_voc_numbers_are_the_published_ones(threshold: float) -> None:
    detections, targets = reference_ap.voc_case(shared("reference/object_detection_metrics"))
    ours = voc_ap(detections, targets, 0, threshold)
    assert ours == pytest.approx(reference_ap.PUBLISHED_VOC[threshold], abs=1e-9)


def test_the_benchmark_reports_the_largest_difference() -> None:
    report = reference_ap.measure(shared("reference/object_detection_metrics"))
    assert report.met
    assert report.value == max(report.detail.values()) <= 1e-6
    assert len(report.detail) == 12 + 8


def test_the_benchmark_says_what_it_misses(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the folder"):
        reference_ap.measure(tmp_path / "nothing")


# Worked by hand


def test_voc_ap_of_a_curve_worked_by_hand() -> None:
    # Right, wrong, right of 4 objects: recalls 1/4, 1/4, 2/4 at precisions 1, 1/2, 2/3.
    objects = [(0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10), (60, 0, 70, 10)]
    target = Target.of(objects, [0] * 4)
    ours = voc_ap([detect([objects[0], FAR, objects[1]], [0.9, 0.8, 0.7])], [target], 0)
    # 11 points: recalls 0, 0.1, 0.2 see precision 1, and 0.3, 0.4, 0.5 see 2/3.
    assert ours == pytest.approx((1 / 4 + 2 / 3 / 4, (3 + 3 * 2 / 3) / 11))


def test_a_second_detection_of_an_object_is_wrong() -> None:
    # The duplicate outranks the detection of the other object.
    target = Target.of([BOX, FAR], [0, 0])
    result = evaluate([detect([BOX, BOX, FAR], [0.9, 0.8, 0.7])], [target], ["bolt"])
    assert result.voc_map50 == pytest.approx(1 / 2 + 2 / 3 / 2)
    assert result.ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert result.ar_1 == 0.5
    assert result.ar_100 == 1.0


def test_a_detection_answers_for_the_object_it_overlaps_most_even_if_that_is_taken() -> None:
    # As in VOCevaldet.m; COCO would give it the second object.
    target = Target.of([(0, 0, 10, 10), (0, 0, 10, 14)], [0, 0])
    detections = detect([(0, 0, 10, 10), (0, 0, 10, 11)], [0.9, 0.8])
    assert voc_ap([detections], [target], 0)[0] == pytest.approx(1 / 2)
    assert evaluate([detections], [target], ["bolt"]).ap50 == pytest.approx(1.0)


def test_an_iou_of_just_the_threshold_is_enough() -> None:
    half = detect([(0, 0, 10, 5)], [0.9])
    result = evaluate([half], [Target.of([(0, 0, 10, 10)], [0])], ["bolt"])
    assert result.voc_map50 == result.ap50 == 1.0
    assert result.ap75 == 0.0


def test_the_class_matters() -> None:
    target = Target.of([BOX, FAR], [0, 1])
    result = evaluate([detect([BOX, FAR], [0.9, 0.8], [0, 0])], [target], LABELS)
    bolt, nut = result.per_class
    assert (bolt.voc_ap50, nut.voc_ap50) == (1.0, 0.0)
    assert result.voc_map50 == 0.5
    assert result.ap == pytest.approx(0.5)


def test_a_class_without_objects_is_left_out_of_the_means() -> None:
    # One right detection, and one of a class that the ground truth does not have.
    result = evaluate([detect([BOX, FAR], [0.5, 0.9], [0, 1])], [Target.of([BOX], [0])], LABELS)
    nut = result.per_class[1]
    assert (nut.label, nut.num_objects) == ("nut", 0)
    assert nut.ap is nut.ap50 is nut.voc_ap50 is nut.voc07_ap50 is None
    assert result.ap == result.voc_map50 == result.voc07_map50 == pytest.approx(1.0)


def test_sizes_without_an_object_are_undefined() -> None:
    result = evaluate([detect([BOX], [0.9])], [Target.of([BOX], [0])], LABELS)
    assert result.ap_medium == result.ar_medium == pytest.approx(1.0)
    assert result.ap_small is result.ap_large is result.ar_small is result.ar_large is None


# Difficult objects and crowds


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_a_difficult_object_or_crowd_is_neither_rewarded_nor_punished(flag: str) -> None:
    flags = {flag: [True, False]}
    target = Target.of([BOX, FAR], [0, 0], **flags)
    missed = evaluate([detect([FAR], [0.5])], [target], ["bolt"])
    # Their scores are higher than the object's, so AP would be 1/3 if they counted as wrong.
    detected = evaluate([detect([BOX, BOX, FAR], [0.9, 0.8, 0.5])], [target], ["bolt"])
    for result in (missed, detected):
        assert result.per_class[0].num_objects == 1
        assert result.ap == result.voc_map50 == result.voc07_map50 == pytest.approx(1.0)


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_nothing_but_difficult_objects_or_crowds_is_undefined(flag: str) -> None:
    flags = {flag: [True]}
    result = evaluate([detect([BOX, FAR], [0.9, 0.8])], [Target.of([BOX], [0], **flags)], LABELS)
    assert_undefined(result)


def test_small_detections_within_a_crowd_are_not_counted_but_an_object_within_it_is_found() -> None:
    target = Target.of([(0, 0, 400, 400), BOX], [0, 0], crowd=[True, False])
    inside, outside = (100, 100, 120, 120), (500, 500, 520, 520)
    result = evaluate([detect([inside, BOX], [0.9, 0.8])], [target], ["bolt"])
    assert result.ap == result.voc_map50 == pytest.approx(1.0)
    result = evaluate([detect([outside, BOX], [0.9, 0.8])], [target], ["bolt"])
    assert result.ap == result.voc_map50 == pytest.approx(0.5)


def test_another_class_s_crowd_forgives_nothing() -> None:
    target = Target.of([(0, 0, 400, 400), BOX], [1, 0], crowd=[True, False])
    result = evaluate([detect([(100, 100, 120, 120), BOX], [0.9, 0.8])], [target], LABELS)
    assert result.ap == result.voc_map50 == pytest.approx(0.5)


# Empties


def assert_undefined(result: Evaluation) -> None:
    assert all(getattr(result, name) is None for name in (*NUMBERS, "voc_map50", "voc07_map50"))


def test_no_image() -> None:
    assert_undefined(evaluate([], [], []))
    assert_undefined(evaluate([], [], LABELS))


def test_no_ground_truth() -> None:
    empty = Target.of([], [])
    assert_undefined(evaluate([Detections.empty()], [empty], LABELS))
    assert_undefined(evaluate([detect([BOX], [0.9])], [empty], LABELS))


def test_no_detection() -> None:
    result = evaluate([Detections.empty()] * 2, [Target.of([BOX], [0]), Target.of([], [])], LABELS)
    assert result.num_images == 2
    assert result.ap == result.ar_100 == result.voc_map50 == result.voc07_map50 == 0.0


def test_detections_on_empty_images_only() -> None:
    targets = [Target.of([BOX], [0]), Target.of([], [])]
    result = evaluate([Detections.empty(), detect([BOX], [0.9])], targets, LABELS)
    assert result.ap == result.voc_map50 == result.voc07_map50 == 0.0


def test_a_detection_on_an_image_without_objects_is_wrong() -> None:
    targets = [Target.of([BOX], [0]), Target.of([], [])]
    result = evaluate([detect([BOX], [0.8]), detect([BOX], [0.9])], targets, LABELS)
    assert result.ap == result.voc_map50 == pytest.approx(0.5)


def test_boxes_without_area_find_nothing_and_break_nothing() -> None:
    point, inverted = (20, 20, 20, 20), (40, 40, 20, 20)
    target = Target.of([point, BOX, FAR], [0, 0, 0], crowd=[False, False, True])
    result = evaluate([detect([point, inverted, BOX], [0.9, 0.8, 0.7])], [target], ["bolt"])
    assert result.per_class[0].num_objects == 2
    assert result.voc_map50 == pytest.approx(1 / 3 / 2)


# Refusals


def test_a_detection_per_target() -> None:
    with pytest.raises(ValueError, match="each of 1 targets, but got 0"):
        evaluate([], [Target.of([], [])], LABELS)


@pytest.mark.parametrize("label", [-1, 2])
def test_an_unknown_label_is_refused(label: int) -> None:
    empty = Target.of([], [])
    with pytest.raises(DataError, match=f"detections of image 1 have label {label}, but there are 2 labels"):
        evaluate([Detections.empty(), detect([BOX], [0.9], [label])], [empty, empty], LABELS)
    with pytest.raises(DataError, match=f"objects of image 0 have label {label}"):
        evaluate([Detections.empty()], [Target.of([BOX], [label])], LABELS)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    for one in (detect([BOX], [bad]), detect([(10, 10, bad, 50)], [0.9])):
        with pytest.raises(DataError, match="NaN or infinite"):
            evaluate([one], [Target.of([BOX], [0])], LABELS)


# Properties


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Detections], list[Target]]:
    """Draw a few images with different boxes and different scores, so that every order is defined."""
    corner, side = st.integers(0, 60), st.integers(1, 60)
    box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
    labelled = st.lists(st.tuples(box, st.integers(0, 1)), max_size=5, unique_by=lambda pair: pair[0])
    num_images = draw(st.integers(1, 4))
    targets = []
    for _ in range(num_images):
        objects = draw(labelled)
        ignored = [draw(st.sampled_from(("", "", "difficult", "crowd"))) for _ in objects]
        targets.append(
            Target.of(
                [pair[0] for pair in objects],
                [pair[1] for pair in objects],
                difficult=[word == "difficult" for word in ignored],
                crowd=[word == "crowd" for word in ignored],
            )
        )
    # Half of the detections lie on objects, so that there are right and wrong ones.
    guesses = []
    for target in targets:
        truth = list(zip(target.boxes.tolist(), target.labels.tolist(), strict=True))
        guesses.append([pair for pair in truth if draw(st.booleans())] + draw(labelled))
    total = sum(map(len, guesses))
    ranks = iter(draw(st.lists(st.integers(1, 1023), min_size=total, max_size=total, unique=True)))
    detections = [
        detect([p[0] for p in pairs], [next(ranks) / 1024 for _ in pairs], [p[1] for p in pairs]) for pairs in guesses
    ]
    return detections, targets


def numbers(result: Evaluation) -> dict[str, float | None]:
    per_class = {
        f"{row.label} {name}": getattr(row, name)
        for row in result.per_class
        for name in ("ap", "ap50", "voc_ap50", "voc07_ap50")
    }
    return per_class | {name: getattr(result, name) for name in (*NUMBERS, "voc_map50", "voc07_map50")}


def assert_same(first: Evaluation, second: Evaluation) -> None:
    expected = numbers(second)
    for name, value in numbers(first).items():
        assert value == (None if expected[name] is None else pytest.approx(expected[name], abs=1e-9)), name


few = settings(max_examples=40, deadline=None)


@few
@given(scenes())
def test_perfect_detections_have_an_ap_of_1(scene: tuple[list[Detections], list[Target]]) -> None:
    targets = [target.where(~target.crowd) for target in scene[1]]
    perfect = [Detections(t.boxes, np.full(len(t), 0.5, np.float32), t.labels) for t in targets]
    for name, value in numbers(evaluate(perfect, targets, LABELS)).items():
        if name not in ("ar_1", "ar_10"):
            assert value is None or value == pytest.approx(1.0), name


@pytest.mark.slow
@few
@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_matter(scene: tuple[list[Detections], list[Target]], random: Random) -> None:
    order = list(range(len(scene[0])))
    random.shuffle(order)
    shuffled = [scene[0][i] for i in order], [scene[1][i] for i in order]
    assert_same(evaluate(*shuffled, LABELS), evaluate(*scene, LABELS))


@few
@given(scenes())
def test_only_the_order_of_scores_matters(scene: tuple[list[Detections], list[Target]]) -> None:
    detections, targets = scene
    squared = [replace(one, scores=one.scores**2) for one in detections]
    assert_same(evaluate(squared, targets, LABELS), evaluate(detections, targets, LABELS))


@pytest.mark.slow
@few
@given(scenes(), st.integers(0, 1))
def test_a_wrong_detection_of_lower_score_never_raises_ap(
    scene: tuple[list[Detections], list[Target]], label: int
) -> None:
    detections, targets = scene
    first = detections[0]
    wrong = detect([*first.boxes.tolist(), FAR], [*first.scores.tolist(), 1e-4], [*first.labels.tolist(), label])
    before = numbers(evaluate(detections, targets, LABELS))
    for name, after in numbers(evaluate([wrong, *detections[1:]], targets, LABELS)).items():
        value = before[name]
        assert (after is None) == (value is None), name
        assert after is None or value is None or after <= value + 1e-12, name


# Reports


def mixed() -> Evaluation:
    return evaluate([detect([BOX], [0.9])], [Target.of([BOX, FAR], [0, 0])], ("[red]bolt", "nut"))


def test_json_holds_plain_values() -> None:
    value = json.loads(json.dumps(mixed().to_json(), allow_nan=False))
    assert value["labels"] == ["[red]bolt", "nut"]
    assert value["ap_small"] is None
    assert value["per_class"][0]["voc_ap50"] == 0.5
    assert value["per_class"][1] == {
        "label": "nut",
        "num_objects": 0,
        "ap": None,
        "ap50": None,
        "voc_ap50": None,
        "voc07_ap50": None,
        "intervals": {"ap": None, "ap50": None, "voc_ap50": None, "voc07_ap50": None},
    }


def test_the_table_shows_every_class_the_means_and_the_rest() -> None:
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(table_of(mixed(), {}))
    lines = captured.get().splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    # COCO's precision at 101 recalls, of which 0 … 0.5 are reached.
    assert rows == [
        ["[red]bolt", "2", "0.505", "0.505", "0.500", "0.545"],
        ["nut", "0", "–", "–", "–", "–"],
        ["mean", "2", "0.505", "0.505", "0.500", "0.545"],
    ]
    assert "AP75 0.505  APsmall –\n" in "".join(f"{line.rstrip()}\n" for line in lines)
    assert "APmedium 0.505  APlarge –" in captured.get()
    assert "AR100 0.500" in captured.get()


def test_nothing_is_printed_or_logged(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        mixed()
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_the_evaluators_are_imported_only_when_needed() -> None:
    code = (
        "import sys, ssd_edge.evaluation; "
        "print({'faster_coco_eval', 'rich', 'torch', 'onnx', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


# From images on disk


class SeesGrey(Detector):
    """Detector that recognises an image by its grey level, and misses the third; at most two may run at once."""

    depth = 2

    def __init__(self) -> None:
        self.under_way = 0

    def submit(self, frame: Image) -> Callable[[], Result]:
        assert frame.shape == (8, 8, 3)
        self.under_way += 1
        assert self.under_way <= self.depth

        def result() -> Result:
            self.under_way -= 1
            seen = detect([BOX], [0.9]) if frame[0, 0, 0] < 2 else Detections.empty()
            return Result(seen, StageTimes(0, 0, 0))

        return result


def test_measure_ap_reads_detects_and_evaluates(tmp_path: Path) -> None:
    samples = []
    for i in range(3):
        path = tmp_path / f"{i}.png"
        assert cv2.imwrite(str(path), np.full((8, 8, 3), i, np.uint8))
        samples.append(Sample(path, Target.of([BOX], [0])))
    progress: list[tuple[int, int]] = []

    result = measure_ap(SeesGrey(), samples, ["bolt"], lambda *step: progress.append(step))
    assert result.num_images == 3
    assert result.voc_map50 == pytest.approx(2 / 3)
    assert progress == [(1, 3), (2, 3), (3, 3)]


def test_measure_ap_names_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    missing = Sample(tmp_path / "missing.png", Target.of([], []))
    with pytest.raises(DataError, match=r"missing\.png"):
        measure_ap(SeesGrey(), [missing], LABELS)
