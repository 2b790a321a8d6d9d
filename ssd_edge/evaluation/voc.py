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
from ssd_edge.evaluation.curve import voc_aps
from ssd_edge.evaluation.matching import IGNORED, RIGHT, WRONG, Matches, matched


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
    matches = voc_matches(detections, targets, label, threshold)
    return defined_aps(voc_aps(matches, np.ones((1, len(targets)), np.float32)))


def average_precision(num_objects: int, right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Compute (all points, 11 points) from (N,) whether each detection is right, best score first, and the objects.

    There is at least one object.
    """
    number = len(right)
    verdicts = np.where(right, RIGHT, WRONG).astype(np.int8)[None]
    matches = Matches(np.zeros(number, np.int64), np.zeros(number, np.float32), verdicts, np.array([num_objects]))
    all_points, eleven_points = voc_aps(matches, np.ones((1, 1), np.float32))[0].tolist()
    return all_points, eleven_points


def defined_aps(values: npt.NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    """Return the first row of ``voc_aps``, or two Nones if it is undefined."""
    return (None, None) if np.isnan(values[0, 0]) else (float(values[0, 0]), float(values[0, 1]))


def voc_matches(
    detections: Sequence[Detections], targets: Sequence[Target], label: int, threshold: float = 0.5
) -> Matches:
    """Match the detections of a class at one IoU threshold; arguments and rules are those of ``voc_ap``."""
    return matched(detections, targets, label, lambda boxes, objects: verdicts(boxes, objects, threshold)[None])


def ranked(matches: Matches) -> tuple[int, npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return those detections of a class that count, best score first, from its ``voc_matches``.

    Returns:
        Number of objects to find, and (N,) scores of the detections, and (N,) whether each is right.
    """
    counted = matches.verdicts[0] != IGNORED
    return int(matches.objects.sum()), matches.scores[counted], matches.verdicts[0][counted] == RIGHT


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
