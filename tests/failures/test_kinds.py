"""The kinds of error and their costs, against the numbers of TIDE's own program and against cases made by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation import evaluate
from ssd_edge.failures import costs as costs_module
from ssd_edge.failures.costs import Ledger, ap50_of_classes, costs
from ssd_edge.failures.kinds import KINDS, judge, size_of_objects
from tests.failures.scenes import LABELS, scenes

# By tidecv 1.0.1 (the authors' program) on scenes(seed=7, images=40); it reads precision at 101 recalls.
TIDE_COUNTS = {"class": 54, "place": 146, "class-and-place": 46, "duplicate": 35, "background": 869, "missed": 98}
TIDE_AP = 6.570815096082087
TIDE_COSTS = {
    "class": 1.699601817946868,
    "place": 6.053214386812717,
    "class-and-place": 0.29375620250718537,
    "duplicate": 0.053646540889565664,
    "background": 9.96152636227627,
    "missed": 2.8886425069124977,
}


def ledger_of(detections: list[Detections], targets: list[Target]) -> Ledger:
    return Ledger.of(detections, targets, [judge(*pair) for pair in zip(detections, targets, strict=True)])


def detected(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(scores, np.float32), np.asarray(labels, np.int64)
    )


def test_counts_are_those_of_tide() -> None:
    ledger = ledger_of(*scenes(seed=7, images=40))
    counts = {kind: int(np.sum(ledger.kind == kind)) for kind in KINDS} | {"missed": int(ledger.missed.sum())}
    assert counts == TIDE_COUNTS


def test_costs_are_those_of_tide(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_101_recalls(num_objects: int, right: npt.NDArray[np.bool_]) -> tuple[float, float]:
        num_right = np.cumsum(right)
        precision = np.maximum.accumulate((num_right / np.arange(1, len(right) + 1))[::-1])[::-1]
        places = np.searchsorted(num_right / num_objects, np.arange(101) / 100, side="left")
        return float(np.append(precision, 0.0)[places].mean()), 0.0

    monkeypatch.setattr(costs_module, "average_precision", at_101_recalls)
    ledger = ledger_of(*scenes(seed=7, images=40))
    assert 100 * np.mean(ap50_of_classes(ledger, 3)) == pytest.approx(TIDE_AP, abs=1e-9)  # of float64 sums
    ours = {kind: 100 * np.mean(values) for kind, values in costs(ledger, 3).items()}
    assert ours == pytest.approx(TIDE_COSTS, abs=1e-9)


def test_ap50_as_it_is_is_that_of_the_evaluation() -> None:
    detections, targets = scenes(seed=3, images=12)
    expected = [row.voc_ap50 for row in evaluate(detections, targets, LABELS).per_class]
    assert ap50_of_classes(ledger_of(detections, targets), 3) == expected


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        ([0, 0, 10, 10], 0, "right"),
        ([0, 0, 10, 4], 0, "place"),  # IoU 0.4
        ([0, 0, 10, 10], 1, "class"),
        ([0, 0, 10, 4], 1, "class-and-place"),
        ([0, 0, 10, 0.5], 0, "background"),  # IoU 0.05
        ([50, 50, 60, 60], 1, "background"),
    ],
)
def test_each_kind(box: list[float], label: int, kind: str) -> None:
    judged = judge(detected((box, 0.9, label)), Target.of([[0, 0, 10, 10]], [0]))
    assert judged.kind.tolist() == [kind]
    assert judged.found.tolist() == [kind == "right"]
    assert judged.missed.tolist() == [kind in ("background", "class-and-place")]


def test_the_second_on_an_object_is_a_duplicate() -> None:
    judged = judge(detected(([0, 0, 10, 10], 0.9, 0), ([0, 0, 10, 9], 0.8, 0)), Target.of([[0, 0, 10, 10]], [0]))
    assert judged.kind.tolist() == ["right", "duplicate"]
    assert judged.about.tolist() == [0, 0]


def test_difficult_objects_and_crowds_are_no_errors() -> None:
    target = Target.of([[0, 0, 10, 10], [20, 20, 60, 60]], [0, 0], [True, False], [False, True])
    judged = judge(detected(([0, 0, 10, 10], 0.9, 0), ([30, 30, 40, 40], 0.8, 0)), target)
    assert judged.kind.tolist() == ["ignored", "ignored"]
    assert not judged.missed.any()


def test_without_detections_every_object_is_missed_and_mending_that_gives_all() -> None:
    targets = [Target.of([[0, 0, 10, 10]], [1]), Target.of([], [])]
    ledger = ledger_of([Detections.empty(), Detections.empty()], targets)
    assert costs(ledger, 2)["missed"] == [None, 1.0]
    assert costs(ledger, 2)["background"] == [None, 0.0]


def test_no_image_at_all() -> None:
    assert ap50_of_classes(ledger_of([], []), 2) == [None, None]


def test_an_object_is_mended_once() -> None:
    found = detected(([0, 0, 10, 4], 0.9, 0), ([0, 0, 10, 4.2], 0.8, 0))
    ledger = ledger_of([found], [Target.of([[0, 0, 10, 10]], [0])])
    assert ap50_of_classes(ledger, 1, "place") == [1.0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_mending_never_costs_and_every_detection_has_a_kind(seed: int, images: int) -> None:
    detections, targets = scenes(seed, images)
    ledger = ledger_of(detections, targets)
    assert set(ledger.kind.tolist()) <= {"right", "ignored", *KINDS}
    assert int(np.sum(ledger.kind == "right")) == int(ledger.found.sum())
    assert not np.any(ledger.found & ledger.missed)
    for values in costs(ledger, 3).values():
        assert all(value is None or value >= -1e-12 for value in values)


def test_sizes_at_cocos_bounds() -> None:
    sides = [31.9, 32.0, 95.9, 96.0]
    boxes = np.asarray([[0, 0, side, side] for side in sides], np.float32)
    assert size_of_objects(boxes).tolist() == ["small", "medium", "medium", "large"]
