"""Compute COCO's twelve numbers with ``faster-coco-eval``.

COCO has no difficult objects, so they are passed as crowds. The evaluator, like pycocotools, overwrites a given
``ignore`` flag with ``iscrowd``; so this is the only way to say "need not be found, and may be detected", and any COCO
tool gives the same numbers. The drawback is that overlap with a crowd means the share of the detection that lies in it,
so detecting only a part of a difficult object is not punished either.

Since there are no masks, sizes are areas of boxes: small ≤ 32² ≤ medium ≤ 96² ≤ large, in pixels of the image.
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
"""Names of the numbers, in COCO's order."""

ClassAP = tuple[float, float] | tuple[None, None]
"""(AP over IoU 0.50 … 0.95, AP at 0.50), or two Nones if the class has no object to find."""


def coco_numbers(
    detections: Sequence[Detections], targets: Sequence[Target], num_labels: int
) -> tuple[dict[str, float | None], list[ClassAP]]:
    """Compute the ``NUMBERS`` over all classes, None for undefined ones, and the AP of each class.

    Args:
        detections: detections in each image.
        targets: objects in each image.
        num_labels: number of classes, without background.
    """
    if not any((~(target.difficult | target.crowd)).any() for target in targets):
        return dict.fromkeys(NUMBERS), [(None, None)] * num_labels

    from faster_coco_eval import COCO, COCOeval_faster

    objects = [
        {"image_id": image, **_placed(box, label), "iscrowd": int(ignored)}
        for image, target in enumerate(targets)
        for box, label, ignored in zip(target.boxes, target.labels, target.difficult | target.crowd, strict=True)
    ]
    results = [
        {"image_id": image, **_placed(box, label), "score": float(score)}
        for image, one in enumerate(detections)
        for box, label, score in zip(one.boxes, one.labels, one.scores, strict=True)
    ]

    def dataset(annotations: list[dict[str, Any]]) -> Any:
        content = {
            "images": [{"id": image} for image in range(len(targets))],
            "categories": [{"id": label} for label in range(num_labels)],
            # Ids start at 1, since the evaluator marks "no match" by 0.
            "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
        }
        return COCO(content, print_function=_silent)

    # The detections are made a data set directly: COCO.loadRes would do the same, but log it.
    evaluator = COCOeval_faster(dataset(objects), dataset(results), "bbox", print_function=_silent)
    evaluator.run()
    numbers = {name: _defined(value) for name, value in zip(NUMBERS, evaluator.stats, strict=True)}
    # (IoU thresholds, recalls, classes, sizes, limits of detections); the first size is "all", the last limit is 100.
    precision = evaluator.eval["precision"][:, :, :, 0, -1]
    return numbers, [_class_ap(precision[:, :, label]) for label in range(num_labels)]


def _class_ap(precision: npt.NDArray[np.float64]) -> ClassAP:
    """Compute AP and AP50 from (IoU thresholds, recalls), which are all −1 for a class with no object."""
    return (None, None) if precision[0, 0] < 0 else (float(precision.mean()), float(precision[0].mean()))


def _defined(value: float) -> float | None:
    return None if value < 0 else float(value)


def _placed(box: npt.NDArray[np.float32], label: np.int64) -> dict[str, Any]:
    x1, y1, x2, y2 = box.tolist()
    width, height = max(x2 - x1, 0.0), max(y2 - y1, 0.0)
    return {"category_id": int(label), "bbox": [x1, y1, width, height], "area": width * height}


def _silent(*_: object) -> None:
    """Discard the evaluator's messages, which it would otherwise log."""
