"""COCO's twelve numbers, from ``faster-coco-eval``.

COCO knows no difficult objects. They are passed as crowds: the evaluator, as pycocotools, overwrites a given
``ignore`` flag with ``iscrowd``, so this is the one way to say "not to be found, and no fault to detect", and any
COCO tool gives the same numbers. Its price: the overlap with a crowd is the share of the detection that lies in
it, so a detection of a part of a difficult object is forgiven too.

Sizes go by the area of the box, for want of masks: small ≤ 32² ≤ medium ≤ 96² ≤ large, in pixels of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections

NUMBERS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large"),
)
"""In COCO's order."""

ClassAP = tuple[float, float] | tuple[None, None]
"""(AP over IoU 0.50 … 0.95, AP at 0.50), or Nones where the class has no object to find."""


def coco_numbers(
    detections: Sequence[Detections], targets: Sequence[Target], num_labels: int
) -> tuple[dict[str, float | None], list[ClassAP]]:
    """The ``NUMBERS`` over all classes, None where nothing defines one, and the AP of each class.

    Args:
        detections: of each image.
        targets: of each image.
        num_labels: classes, counted from 0.
    """
    if not any((~(target.difficult | target.crowd)).any() for target in targets):
        return dict.fromkeys(NUMBERS), [(None, None)] * num_labels

    from faster_coco_eval import COCO, COCOeval_faster

    objects = [
        {"image_id": image, **_placed(box, label), "iscrowd": int(ignored)}
        for image, target in enumerate(targets)
        for box, label, ignored in zip(target.boxes, target.labels, target.difficult | target.crowd, strict=True)
    ]
    found = [
        {"image_id": image, **_placed(box, label), "score": float(score)}
        for image, one in enumerate(detections)
        for box, label, score in zip(one.boxes, one.labels, one.scores, strict=True)
    ]

    def dataset(annotations: list[dict[str, Any]]) -> Any:
        content = {
            "images": [{"id": image} for image in range(len(targets))],
            "categories": [{"id": label} for label in range(num_labels)],
            # From 1: the evaluator marks "no match" by 0.
            "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
        }
        return COCO(content, print_function=_silent)

    # The detections become a data set directly: COCO.loadRes would do the same, and log it.
    evaluator = COCOeval_faster(dataset(objects), dataset(found), "bbox", print_function=_silent)
    evaluator.run()
    numbers = {name: _defined(value) for name, value in zip(NUMBERS, evaluator.stats, strict=True)}
    # (IoU thresholds, recalls, classes, sizes, limits of detections); the first size is all, the last limit 100.
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    return numbers, [_class_ap(precision[:, :, label]) for label in range(num_labels)]


def _class_ap(precision: npt.NDArray[np.float64]) -> ClassAP:
    """(IoU thresholds, recalls) → AP and AP50; the evaluator writes −1 throughout for a class with no object."""
    return (None, None) if precision[0, 0] < 0 else (float(precision.mean()), float(precision[0].mean()))


def _defined(value: float) -> float | None:
    return None if value < 0 else float(value)


def _placed(box: npt.NDArray[np.float32], label: np.int64) -> dict[str, Any]:
    x1, y1, x2, y2 = box.tolist()
    width, height = max(x2 - x1, 0.0), max(y2 - y1, 0.0)
    return {"category_id": int(label), "bbox": [x1, y1, width, height], "area": width * height}


def _silent(*_: object) -> None:
    """Where the evaluator's messages go; without it they are logged."""
