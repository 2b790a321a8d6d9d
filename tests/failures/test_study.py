"""The numbers and the page of ``eval --report``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation.voc import voc_ap, voc_matches
from ssd_edge.failures.charts import precision_recall
from ssd_edge.failures.page import page, verdict
from ssd_edge.failures.pictures import RIGHT, UNFOUND, WRONG, draw_failing
from ssd_edge.failures.study import Study, study
from tests.failures.scenes import LABELS, scenes
from tests.failures.test_kinds import detected

OBJECT = [10.0, 10.0, 60.0, 60.0]
AWAY = [100.0, 100.0, 150.0, 150.0]


def studied(detections: list[Detections], targets: list[Target], shown: float = 0.5) -> Study:
    images = [Path(f"{number}.png") for number in range(len(targets))]
    matches = [voc_matches(detections, targets, label) for label in range(len(LABELS))]
    return study(images, detections, targets, LABELS, [shown] * len(LABELS), matches)


def test_confusion_pairs_each_object_once() -> None:
    target = Target.of([OBJECT, AWAY, [200, 200, 220, 220]], [0, 1, 2])
    found = detected((OBJECT, 0.9, 0), (AWAY, 0.8, 0), (OBJECT, 0.7, 1), ([300, 300, 320, 320], 0.6, 2))
    table = studied([found], [target]).confusion
    expected = np.zeros((4, 4), int)
    expected[0, 0] = 1  # found
    expected[1, 0] = 1  # of another class
    expected[2, 3] = 1  # not found
    expected[3, 1] = 1  # on an object that has been found
    expected[3, 2] = 1  # where nothing is
    assert table.tolist() == expected.tolist()


def test_confusion_counts_every_object_and_every_shown_detection() -> None:
    detections, targets = scenes(seed=1, images=20)
    table = studied(detections, targets, 0.3).confusion
    for label in range(3):
        assert table[label].sum() == sum(int(np.sum(target.labels == label)) for target in targets)
        shown = sum(int(np.sum((one.labels == label) & (one.scores >= np.float32(0.3)))) for one in detections)
        assert table[:, label].sum() == shown


def test_only_shown_detections_are_counted_and_the_worst_image_comes_first() -> None:
    good = detected((OBJECT, 0.9, 0), (AWAY, 0.4, 0))
    bad = detected((AWAY, 0.9, 0), ([200, 100, 250, 150], 0.8, 0))
    target = Target.of([OBJECT], [0])
    result = studied([good, bad], [target, target])
    assert result.counts["background"] == {"small": 0, "medium": 2, "large": 0}
    assert result.counts["missed"] == {"small": 0, "medium": 1, "large": 0}
    assert result.objects == {"small": (0, 0), "medium": (2, 1), "large": (0, 0)}
    assert [one.image.name for one in result.images] == ["1.png", "0.png"]
    assert result.images[0].cost == pytest.approx(0.9 + 0.8 + 1, abs=1e-6)  # of float32 scores
    assert result.images[0].errors() == {"background": 2, "missed": 1}
    assert result.images[1].errors() == {}


def test_the_area_under_the_curve_is_the_ap() -> None:
    detections, targets = scenes(seed=2, images=30)
    result = studied(detections, targets)
    for label, curve in enumerate(result.curves):
        best = np.maximum.accumulate(curve.precision[::-1])[::-1]
        area = float(np.sum(np.diff(curve.recall, prepend=0.0) * best))
        assert area == pytest.approx(voc_ap(detections, targets, label)[0], abs=1e-12)


def test_nothing_at_all_is_a_study_too() -> None:
    result = studied([], [])
    assert result.mean_lost() == dict.fromkeys(result.lost, 0.0)
    assert "No kind of error" in verdict(result)
    assert "No image has an error" in page(result, "m.pt", "no images")


def test_the_page_names_the_costliest_kind_and_escapes_names(tmp_path: Path) -> None:
    image = tmp_path / "<b>.png"
    cv2.imwrite(str(image), np.full((200, 320, 3), 128, np.uint8))
    found = detected((AWAY, 0.9, 0), (OBJECT, 0.8, 0))
    targets = [Target.of([OBJECT], [0])]
    matches = [voc_matches([found], targets, label) for label in range(2)]
    result = study([image], [found], targets, ("<i>x</i>", "y"), [0.5, 0.5], matches)
    text = page(result, "m.pt", "measured on 1 image")
    assert verdict(result).startswith("The costliest kind of error is background")
    assert "50.0 points of AP50" in text
    assert "&lt;i&gt;x&lt;/i&gt;" in text
    assert "<i>x" not in text
    assert "<b>.png" not in text
    assert text.count("data:image/jpeg;base64,") == 1


def test_pictures_show_what_is_right_wrong_and_not_found() -> None:
    image = np.full((400, 800, 3), 128, np.uint8)
    target = Target.of([OBJECT, [300, 200, 380, 280]], [0, 1])
    found = detected((OBJECT, 0.9, 0), ([500, 200, 580, 280], 0.8, 1))
    picture = draw_failing(image, studied([found], [target]).images[0], LABELS, longest=400)
    assert picture.shape == (200, 400, 3)
    for box, colour in ((OBJECT, RIGHT), ([500, 200, 580, 280], WRONG), ([300, 200, 380, 280], UNFOUND)):
        x, y = round(box[0] / 2), round((box[1] + box[3]) / 4)
        near = picture[y, x - 2 : x + 3].astype(int)  # the line is antialiased
        assert np.abs(near - colour).sum(axis=1).min() <= 60, colour


def test_a_curve_marks_the_score_that_is_shown() -> None:
    curve = studied([detected((OBJECT, 0.9, 0), (AWAY, 0.4, 0))], [Target.of([OBJECT], [0])]).curves[0]
    assert "from 0.50 on: precision 1.00, recall 1.00" in precision_recall(curve, "a", 0.5)
    assert "from 0.30 on: precision 0.50, recall 1.00" in precision_recall(curve, "a", 0.3)
    assert "circle" not in precision_recall(curve, "a", 0.95)
