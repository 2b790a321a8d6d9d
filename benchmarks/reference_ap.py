"""Difference of ssd-edge's AP from published numbers, on the published detections and ground truth.

Both cases are from github.com/rafaelpadilla/review_object_detection_metrics (MIT), commit 2efe66d. The numbers are
those that its tests expect: tests/test_eval_coco.py ("coco's official implementation") and tests/test_eval_pascal.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from figure import SHARED, Figure

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.errors import DataError
from ssd_edge.evaluation import evaluate, voc_ap

REFERENCE = SHARED / "reference" / "object_detection_metrics"

PUBLISHED_COCO = {
    "ap": 0.503647,
    "ap50": 0.696973,
    "ap75": 0.571667,
    "ap_small": 0.593252,
    "ap_medium": 0.557991,
    "ap_large": 0.489363,
    "ar_1": 0.386813,
    "ar_10": 0.593680,
    "ar_100": 0.595353,
    "ar_small": 0.654764,
    "ar_medium": 0.603130,
    "ar_large": 0.553744,
}
"""COCO's numbers, printed with six digits."""

PUBLISHED_VOC = {
    0.1: (0.3371980676, 0.3333333333),
    0.3: (0.2456866804, 0.2683982683),
    0.5: (0.0222222222, 0.0303030303),
    0.75: (0.0, 0.0),
}
"""IoU threshold → (AP over all points, AP over 11 points)."""


def coco_case(folder: Path) -> tuple[list[Detections], list[Target], list[str]]:
    """Read 100 images of COCO val2014 in order of id, 80 classes: detections, truth and class names."""
    truth = json.loads((folder / "test_coco_eval" / "gts" / "sampled_gts_bbox_area.json").read_text())
    results = json.loads((folder / "test_coco_eval" / "cocoapi_results.json").read_text())
    categories = sorted(truth["categories"], key=lambda category: int(category["id"]))
    index = {category["id"]: i for i, category in enumerate(categories)}
    targets, detections = [], []
    for image in sorted(int(image["id"]) for image in truth["images"]):
        objects = [entry for entry in truth["annotations"] if entry["image_id"] == image]
        labels = [index[entry["category_id"]] for entry in objects]
        crowd = [entry["iscrowd"] for entry in objects]
        targets.append(Target.of([_corners(entry["bbox"]) for entry in objects], labels, crowd=crowd))
        mine = [entry for entry in results if entry["image_id"] == image]
        boxes = [_corners(entry["bbox"]) for entry in mine]
        scores = [entry["score"] for entry in mine]
        detections.append(_detections(boxes, scores, [index[entry["category_id"]] for entry in mine]))
    return detections, targets, [category["name"] for category in categories]


def voc_case(folder: Path) -> tuple[list[Detections], list[Target]]:
    """Read 7 images of one class: detections and truth."""
    targets, detections = [], []
    for path in sorted((folder / "test_case_1" / "gts").glob("*.txt")):
        truth = [line.split() for line in path.read_text().splitlines()]
        results = [line.split() for line in (folder / "test_case_1" / "dets" / path.name).read_text().splitlines()]
        targets.append(Target.of([_pixel_corners(row[1:]) for row in truth], [0] * len(truth)))
        boxes = [_pixel_corners(row[2:]) for row in results]
        detections.append(_detections(boxes, [float(row[1]) for row in results], [0] * len(results)))
    return detections, targets


def measure(folder: Path = REFERENCE) -> Figure:
    """Return the largest difference from the published numbers, with each difference in the detail.

    Raises:
        DataError: the published detections do not exist.
    """
    if not folder.is_dir():
        raise DataError(f"the published detections are not there: expected the folder {folder}")
    ours = evaluate(*coco_case(folder))
    differences = {f"coco {name}": abs(getattr(ours, name) - value) for name, value in PUBLISHED_COCO.items()}
    detections, targets = voc_case(folder)
    for threshold, published in PUBLISHED_VOC.items():
        for kind, mine, value in zip(
            ("all points", "11 points"), voc_ap(detections, targets, 0, threshold), published, strict=True
        ):
            differences[f"voc {kind}, IoU {threshold}"] = abs((mine or 0.0) - value)
    worst = max(differences.values())
    return Figure("reference-ap", worst, "largest difference", "<= 1e-6", worst <= 1e-6, differences)


def _detections(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)
    )


def _corners(box: list[float]) -> list[float]:
    x, y, width, height = box
    return [x, y, x + width, y + height]


def _pixel_corners(row: list[str]) -> list[float]:
    """Return corners as the reference means them: left + width, top + height is still a pixel within the box."""
    x, y, width, height = map(float, row)
    return [x, y, x + width + 1, y + height + 1]
