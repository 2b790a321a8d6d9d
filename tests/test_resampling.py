"""AP from our own matching: equal to faster-coco-eval's for the images as they are, and for images counted twice."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import reference_ap

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation import Evaluation, evaluate
from ssd_edge.evaluation.resampling import OF_CLASS, OVERALL, MatchedImages
from tests.helpers import shared

LABELS = ("bolt", "nut", "washer")
Case = tuple[list[Detections], list[Target]]

EXACT = 1e-9
"""Both sum at most a few thousand float64 fractions of 0 … 1, each rounded by 1e-16."""


def random_case(seed: int, num_images: int = 6) -> Case:
    """Make images with whole-number boxes, so that IoUs tie, with few scores, difficult objects and crowds."""
    rng = np.random.default_rng(seed)
    detections, targets = [], []
    for _ in range(num_images):
        objects = _boxes(rng, rng.integers(0, 6)) * (1 + seed % 4)  # of all sizes
        flags = rng.random(len(objects))
        target = Target.of(objects, rng.integers(0, 3, len(objects)), difficult=flags < 0.15, crowd=flags > 0.85)
        boxes, labels = _boxes(rng, rng.integers(0, 12)) * (1 + seed % 4), None
        labels = rng.integers(0, 3, len(boxes))
        if len(objects):
            near, of = rng.random(len(boxes)) < 0.6, rng.integers(0, len(objects), len(boxes))
            boxes[near] = objects[of[near]] + rng.integers(-1, 2, (near.sum(), 4))
            labels[near] = target.labels[of[near]]
        detections.append(Detections(boxes, (rng.integers(1, 6, len(boxes)) / 8).astype(np.float32), labels))
        targets.append(target)
    return detections, targets


def _boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    corners, sizes = rng.integers(0, 40, (number, 2)), rng.integers(1, 30, (number, 2))
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)


def expected(result: Evaluation) -> list[float]:
    values = [getattr(result, name) for name in OVERALL]
    values += [getattr(row, name) for row in result.per_class for name in OF_CLASS]
    return [np.nan if value is None else value for value in values]


def copies(case: Case, counts: list[int]) -> Case:
    """Repeat each image as often as it is counted."""
    detections, targets = ([one for one, n in zip(part, counts, strict=True) for _ in range(n)] for part in case)
    return detections, targets


@pytest.mark.parametrize("block", range(4))
def test_the_aps_are_those_of_the_evaluator(block):
    for seed in range(20 * block, 20 * block + 20):
        case = random_case(seed)
        ours = MatchedImages.of(*case, len(LABELS)).aps(np.ones((1, 6), np.float32))[0]
        np.testing.assert_allclose(ours, expected(evaluate(*case, LABELS)), rtol=0, atol=EXACT, err_msg=str(seed))


def test_an_image_that_is_counted_twice_is_two_images():
    """Including an image that is not counted. The scores differ: the order of equal ones is that of the images."""
    rng = np.random.default_rng(0)
    for seed in range(10):
        detections, targets = random_case(seed)
        different = iter(rng.permutation(1000).astype(np.float32) / 1000)
        case = (
            [replace(one, scores=np.array([next(different) for _ in one.scores], np.float32)) for one in detections],
            targets,
        )
        counts = rng.multinomial(6, np.full(6, 1 / 6), 3)
        ours = MatchedImages.of(*case, len(LABELS)).aps(counts.astype(np.float32))
        for row, chosen in zip(ours, counts.tolist(), strict=True):
            wanted = expected(evaluate(*copies(case, chosen), LABELS))
            np.testing.assert_allclose(row, wanted, rtol=0, atol=EXACT, err_msg=str(seed))


def test_published_detections_of_80_classes():
    """COCO val2014: 100 images, crowds among their objects."""
    detections, targets, labels = reference_ap.coco_case(shared("reference/object_detection_metrics"))
    ours = MatchedImages.of(detections, targets, len(labels)).aps(np.ones((1, len(targets)), np.float32))[0]
    np.testing.assert_allclose(ours, expected(evaluate(detections, targets, labels)), rtol=0, atol=EXACT)
    assert ours[:3] == pytest.approx([reference_ap.PUBLISHED_COCO[name] for name in OVERALL[:3]], abs=1e-6)


def test_more_than_a_hundred_detections_in_an_image():
    """COCO counts the best hundred, VOC all: of 150, the only right one is the last."""
    boxes = np.tile(np.float32([[200, 200, 240, 240]]), (150, 1))
    boxes[-1] = 10, 10, 50, 50
    scores = np.linspace(0.9, 0.1, 150, dtype=np.float32)
    case = [Detections(boxes, scores, np.zeros(150, np.int64))], [Target.of([(10, 10, 50, 50)], [0])]
    ours = MatchedImages.of(*case, 1).aps(np.ones((1, 1), np.float32))[0]
    assert ours == pytest.approx(expected(evaluate(*case, ["bolt"])), nan_ok=True)  # no object is small or large
    assert ours[0] == 0 < ours[3] == pytest.approx(1 / 150)


@pytest.mark.parametrize("labels", [(), LABELS])
def test_nothing_is_undefined(labels):
    for case in (([], []), ([Detections.empty()], [Target.of([], [])])):
        ours = MatchedImages.of(*case, len(labels)).aps(np.ones((2, len(case[0])), np.float32))
        assert ours.shape == (2, len(OVERALL) + len(OF_CLASS) * len(labels))
        assert np.isnan(ours).all()


def test_the_names_are_fields_of_an_evaluation():
    assert set(OVERALL) <= {field.name for field in fields(Evaluation)}
