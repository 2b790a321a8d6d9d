"""Compute Pascal VOC's average precision, as the development kit's VOCevaldet.m and VOCap.m do (2007; 2010 and later).

Here coordinates are edges: width is x2 − x1. In the kit they are pixels that belong to the box, so width is
xmax − xmin + 1. As edges those would be (xmin, xmax + 1), so both give the same IoU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import iou
from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections

WRONG, RIGHT, IGNORED = 0, 1, 2
"""Verdicts on a detection."""


def voc_ap(
    detections: Sequence[Detections], targets: Sequence[Target], label: int, threshold: float = 0.5
) -> tuple[float, float] | tuple[None, None]:
    """Compute the AP of one class: (all points, VOC 2010 and later; 11 points, VOC 2007).

    A detection is assigned to the object that it overlaps most. It is right if their IoU is at least ``threshold`` and
    no better detection has found the object, otherwise wrong. But it is not counted if that object is difficult, nor if
    it would be wrong and at least a share ``threshold`` of its own area lies in a crowd region.

    Args:
        detections: detections in each image.
        targets: objects in each image.
        label: index of the class.
        threshold: lowest IoU at which a detection finds an object.

    Returns:
        Both in 0 … 1, or both None if there is no object to find.
    """
    num_objects, _, right = ranked(detections, targets, label, threshold)
    if num_objects == 0:
        return None, None
    return average_precision(num_objects, right)


def average_precision(num_objects: int, right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Compute (all points, 11 points) from (N,) whether each detection is right, best score first, and the objects.

    There is at least one object.
    """
    num_right = np.cumsum(right)
    precision = num_right / np.arange(1, len(right) + 1)
    # Best precision at each recall or a higher one; 0 for recalls that are never reached.
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # Recall grows by 1/num_objects with every right detection, so the area is a sum over right detections.
    all_points = float(envelope[:-1][right].sum() / num_objects)
    # As in the Python evaluators behind published figures, three levels of linspace are one bit above 0.3, 0.6 and 0.7,
    # so a recall of exactly 9/15 does not reach the seventh level. The reference's figure at IoU 0.1 depends on this.
    reached = np.searchsorted(num_right / num_objects, np.linspace(0.0, 1.0, 11))
    return all_points, float(envelope[reached].mean())


def ranked(
    detections: Sequence[Detections], targets: Sequence[Target], label: int, threshold: float = 0.5
) -> tuple[int, npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Rank the detections of a class that count, best score first; arguments and rules are those of ``voc_ap``.

    Returns:
        Number of objects to find, and (N,) scores of the detections, and (N,) whether each is right.
    """
    num_objects = 0
    scores, judged = [np.zeros(0, np.float32)], [np.zeros(0, np.int8)]
    for detected, target in zip(detections, targets, strict=True):
        objects = target.labels == label
        num_objects += int(np.sum(objects & ~(target.difficult | target.crowd)))
        of_class = np.flatnonzero(detected.labels == label)
        if len(of_class) == 0:
            continue
        of_class = of_class[np.argsort(-detected.scores[of_class], kind="stable")]
        scores.append(detected.scores[of_class])
        judged.append(verdicts(detected.boxes[of_class], target.where(objects), threshold))
    score, verdict = np.concatenate(scores), np.concatenate(judged)
    order = np.argsort(-score, kind="stable")
    order = order[verdict[order] != IGNORED]
    return num_objects, score[order], verdict[order] == RIGHT


def verdicts(boxes: npt.NDArray[np.float32], objects: Target, threshold: float) -> npt.NDArray[np.int8]:
    """Judge the detections of one class in one image: (N, 4) boxes, best score first, and M objects → (N,) verdicts."""
    judged = np.full(len(boxes), WRONG, np.int8)
    singles, crowds = objects.where(~objects.crowd), objects.boxes[objects.crowd]
    if len(singles):
        overlaps = iou(boxes[:, None], singles.boxes[None])
        taken = np.zeros(len(singles), bool)
        for i, best in enumerate(overlaps.argmax(axis=1)):
            if overlaps[i, best] < threshold:
                continue
            if singles.difficult[best]:
                judged[i] = IGNORED
            elif not taken[best]:
                judged[i] = RIGHT
                taken[best] = True
    if len(crowds):
        # A box's part inside a region is a subset of the box, so the IoU of the two is the part's share of the box.
        corners = np.maximum(boxes[:, None, :2], crowds[:, :2]), np.minimum(boxes[:, None, 2:], crowds[:, 2:])
        in_crowd = (iou(boxes[:, None], np.concatenate(corners, axis=-1)) >= threshold).any(axis=1)
        judged[in_crowd & (judged == WRONG)] = IGNORED
    return judged
