"""Labels that a model contradicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.failures.doubts_page import draw_doubt
from ssd_edge.failures.labels import KINDS_OF_DOUBT, Doubt, _falling, doubts, in_turns
from tests.failures.test_kinds import detected

LABELS = ("a", "b")
IMAGES = 40


def scenes_seen_well() -> tuple[list[Detections], list[Target]]:
    """Make images of four objects each, of two classes, that a model sees with an IoU of about 0.89."""
    rng = np.random.default_rng(4)
    detections, targets = [], []
    for _ in range(IMAGES):
        boxes = [[100.0 * k, 0.0, 100.0 * k + 60, 60.0] for k in range(4)]
        seen = [[b[0], b[1], b[2], b[3] * (1 - np.exp(-rng.normal(2.2, 0.3)))] for b in boxes]
        detections.append(
            detected(
                *(
                    (box, float(score), k % 2)
                    for k, (box, score) in enumerate(zip(seen, [0.95, 0.9, 0.85, 0.8], strict=True))
                )
            )
        )
        targets.append(Target.of(boxes, [0, 1, 0, 1]))
    return detections, targets


def listed(detections: list[Detections], targets: list[Target]) -> list[Doubt]:
    return doubts([Path(f"{n}.png") for n in range(len(targets))], detections, targets, LABELS)


def changed(target: Target, k: int, box: list[float] | None = None, label: int | None = None) -> Target:
    boxes, labels = target.boxes.copy(), target.labels.copy()
    if box is not None:
        boxes[k] = box
    if label is not None:
        labels[k] = label
    return Target.of(boxes, labels)


def test_good_labels_are_hardly_doubted() -> None:
    found = listed(*scenes_seen_well())
    assert len(found) == 4 * IMAGES
    # The certainty of the lowest few of a normal's 160 values is a matter of chance: two of them at most.
    assert sum(one.certainty >= 0.5 for one in found) <= 2


@pytest.mark.parametrize(
    ("kind", "box"),
    [("other class", [0, 0, 60, 60]), ("loose box", [25, 25, 85, 85]), ("missing box", [0, 0, 60, 60])],
)
def test_one_planted_error_of_each_kind_comes_first(kind: str, box: list[float]) -> None:
    detections, targets = scenes_seen_well()
    if kind == "other class":
        targets[7] = changed(targets[7], 0, label=1)
    elif kind == "loose box":
        targets[7] = changed(targets[7], 0, box=box)
    else:
        targets[7] = targets[7].where(np.arange(4) != 0)
    first = listed(detections, targets)[0]
    assert (first.image.name, first.kind) == ("7.png", kind)
    assert first.certainty >= 0.5
    assert first.suggested_label == "a"
    if kind != "missing box":
        assert list(first.box) == box


def test_an_object_that_the_model_does_not_see_is_not_doubted() -> None:
    detections, targets = scenes_seen_well()
    targets[0] = Target.of([*targets[0].boxes.tolist(), [0, 200, 60, 260]], [*targets[0].labels.tolist(), 0])
    unseen = next(one for one in listed(detections, targets) if one.box == (0, 200, 60, 260))
    assert (unseen.kind, unseen.certainty) == ("none", 0)


def test_what_lies_in_a_crowd_is_no_missing_box() -> None:
    detections, targets = scenes_seen_well()
    target = targets[3]
    targets[3] = Target.of(target.boxes, target.labels, crowd=[True, False, False, False])
    assert all(one.kind != "missing box" or one.certainty == 0 for one in listed(detections, targets))


def test_without_detections_or_labels_nothing_is_doubted() -> None:
    none = Target.of([], [])
    assert listed([], []) == []
    assert listed([Detections.empty()], [none]) == []
    one = listed([Detections.empty()], [Target.of([[0, 0, 9, 9]], [1])])
    assert [(doubt.kind, doubt.certainty) for doubt in one] == [("none", 0)]


def test_likely_doubts_of_each_kind_take_turns_and_labels_without_a_doubt_are_last() -> None:
    def doubt(kind: str, certainty: float) -> Doubt:
        return Doubt(Path("x.png"), kind, certainty, "a", (0, 0, 4, 4), "a", (1, 1, 6, 30), 0.3)

    missing = [doubt("missing box", certainty) for certainty in (0.99, 0.98, 0.97, 0.05)]
    loose = [doubt("loose box", certainty) for certainty in (0.3, 0.02)]
    none = doubt("none", 0.0)
    expected = [missing[0], loose[0], missing[1], missing[2], loose[1], missing[3], none]
    assert in_turns([none, *loose, *missing]) == expected
    assert in_turns([]) == []


def test_json_has_plain_values() -> None:
    one = listed(*scenes_seen_well())[0].to_json()
    assert one["kind"] in KINDS_OF_DOUBT
    assert all(isinstance(edge, float) for edge in one["box"])


@given(st.lists(st.booleans(), max_size=40))
def test_isotonic_regression_falls_and_keeps_the_sum(values: list[bool]) -> None:
    fitted = _falling(np.asarray(values, bool))
    assert len(fitted) == len(values)
    assert np.all(np.diff(fitted) <= 0)
    assert fitted.sum() == pytest.approx(sum(values), abs=1e-9)  # of float64 sums


def test_isotonic_regression_of_a_known_case() -> None:
    assert _falling(np.array([True, False, True, False])).tolist() == [1.0, 0.5, 0.5, 0.0]


def test_a_picture_of_a_doubt_at_the_edge_of_a_small_image() -> None:
    image = np.full((20, 30, 3), 90, np.uint8)
    doubt = Doubt(Path("x.png"), "loose box", 0.9, "a", (0, 0, 4, 4), "a", (1, 1, 6, 30), 0.3)
    assert max(draw_doubt(image, doubt).shape) == 360
