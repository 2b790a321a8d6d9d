"""Objects that no default box fits: against each default box one by one, and for sizes worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from ssd_edge import boxes
from ssd_edge.data.check import check_dataset
from ssd_edge.data.coverage import ClassCoverage, best_ious, coverage, unmatched_sentence
from ssd_edge.data.dataset import Dataset, Sample, Target
from ssd_edge.models.catalogue import MODELS
from ssd_edge.models.registry import make_spec
from ssd_edge.spec import DefaultBoxLevel
from tests.helpers import small_spec

LABELS = ("bolt", "nut", "gear")


def dataset_of(*samples: Sample) -> Dataset:
    return Dataset(samples[0].image, "voc", "train", LABELS, samples)


def test_counts_are_those_of_every_pair(tmp_path):
    """Random objects in images of several shapes; a pair within 1e-5 of the limit would be decided by rounding."""
    rng = np.random.default_rng(0)
    spec = make_spec("ssdlite300_mobilenet_v2", LABELS)
    defaults = boxes.to_xyxy(boxes.default_boxes(spec)).astype(np.float64)
    samples, counts = [], np.zeros((3, 2), int)
    for size in ((300, 300), (640, 200), (90, 400)):
        corner = rng.uniform(0, 0.7, (80, 2))
        fractions = np.concatenate([corner, corner + rng.uniform(0.02, 0.3, (80, 2))], axis=1)
        labels, difficult = rng.integers(0, 2, 80), rng.random(80) < 0.2
        samples.append(Sample(tmp_path, Target.of(fractions * [*size, *size], labels, difficult), size))
        for box, label, skip in zip(fractions, labels, difficult, strict=True):
            if skip:
                continue
            width = np.minimum(box[2], defaults[:, 2]) - np.maximum(box[0], defaults[:, 0])
            height = np.minimum(box[3], defaults[:, 3]) - np.maximum(box[1], defaults[:, 1])
            shared = np.maximum(width, 0) * np.maximum(height, 0)
            both = (box[2] - box[0]) * (box[3] - box[1]) + (defaults[:, 2:] - defaults[:, :2]).prod(axis=1)
            best = (shared / (both - shared)).max()
            assert abs(best - 0.5) > 1e-5
            counts[label] += [1, best < 0.5]
    rows = coverage(dataset_of(*samples), spec)
    assert [(row.objects, row.unmatched) for row in rows] == [tuple(row) for row in counts.tolist()]
    assert 0 < rows[0].share < 1
    assert rows[2] == ClassCoverage("gear", 0, 0)
    assert rows[2].share == 0


@pytest.mark.parametrize("model", MODELS)
def test_the_best_box_is_in_the_cell_of_the_object(model):
    """Against every default box of the model: centres on the edge of two cells are a rounding apart, 1e-6."""
    rng = np.random.default_rng(0)
    corner = np.concatenate([rng.uniform(0, 0.9, (60, 2)), rng.integers(0, 36, (20, 2)) / 38])
    objects = np.concatenate([corner, corner + rng.uniform(0.01, 0.1, (80, 2)) * [1, 3]], axis=1).clip(0, 1)
    objects = objects.astype(np.float32)
    spec = make_spec(model, LABELS)
    every = boxes.iou(objects[:, None], boxes.to_xyxy(boxes.default_boxes(spec))[None].astype(np.float32)).max(axis=1)
    np.testing.assert_allclose(best_ious(objects, spec), every, rtol=0, atol=1e-6)


def test_a_box_of_half_the_area_just_fits():
    """In the middle of a default box of 0.2 × 0.2, IoU is the share of its area."""
    spec = small_spec(levels=(DefaultBoxLevel((1, 1), (1.0, 1.0), ((0.2, 0.2),)),), labels=LABELS)

    def one(side):
        low, high = 50 - 50 * side, 50 + 50 * side
        return Sample(LABELS, Target.of([[low, low, high, high]], [0]), (100, 100))

    fits, does_not = (coverage(dataset_of(one(0.2 * share**0.5)), spec)[0].unmatched for share in (0.501, 0.499))
    assert (fits, does_not) == (0, 1)


def test_sizes_come_from_the_check_or_the_file(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((50, 100, 3), np.uint8))
    spec = small_spec(levels=(DefaultBoxLevel((1, 1), (1.0, 1.0), ((0.5, 0.5),)),), labels=LABELS)
    dataset = dataset_of(Sample(path, Target.of([[25, 12, 75, 38]], [1])))
    clean = check_dataset(dataset).clean
    assert clean.samples[0].declared == (100, 50)
    for one in (dataset, clean):
        assert coverage(one, spec)[1] == ClassCoverage("nut", 1, 0)


def test_no_object(tmp_path):
    dataset = dataset_of(Sample(tmp_path, Target.of([], []), (10, 10)), Sample(tmp_path, Target.of([], [])))
    assert [row.objects for row in coverage(dataset, small_spec(labels=LABELS))] == [0, 0, 0]
    assert coverage(replace(dataset, samples=()), small_spec(labels=LABELS))[0].share == 0


def test_the_sentence_names_the_classes_with_most_such_objects():
    rows = [
        ClassCoverage(name, 100, number) for name, number in zip("abcdefg", (9, 10, 50, 30, 20, 80, 15), strict=True)
    ]
    sentence = unmatched_sentence(rows, "m")
    assert sentence.startswith(
        "no default box of m fits (IoU of 0.5 or more) 80% of 100 f, 50% of 100 c, 30% of 100 d, 20% of 100 e and of 2 "
        "more classes: "
    )
    assert "1 more class:" in unmatched_sentence(rows[:6], "m")
    assert unmatched_sentence(rows[:1], "m") == ""
    assert unmatched_sentence([], "m") == ""


@pytest.mark.parametrize(
    ("model", "percent"),
    [
        ("ssdlite300_mobilenet_v2", 76.6),
        ("ssdlite320_mobilenet_v3_large", 99.5),
        ("ssd300_vgg16", 54.1),
        ("ssd512_vgg16", 1.4),
    ],
)
def test_platelets(model, percent):
    """What ``check-data ../shared/data/bccd --split train --model-name MODEL`` prints, of 209 objects."""
    from ssd_edge.data.readers import open_dataset
    from tests.helpers import shared

    clean = check_dataset(open_dataset(shared("data/bccd"), "train")).clean
    row = coverage(clean, make_spec(model, clean.labels))[0]
    assert (row.name, row.objects) == ("Platelets", 209)
    assert round(100 * row.share, 1) == percent
