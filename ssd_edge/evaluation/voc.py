"""Pascal VOC's average precision, after the development kit's VOCevaldet.m and VOCap.m (2007; 2010 and later).

Boxes have edges: width is x2 − x1. The kit writes width as xmax − xmin + 1, since its corners are pixels that
belong to the box; as edges those are (xmin, xmax + 1), so both give the same IoU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import iou
from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections

_WRONG, _RIGHT, _IGNORED = 0, 1, 2


def voc_ap(
    detections: Sequence[Detections], targets: Sequence[Target], label: int, threshold: float = 0.5
) -> tuple[float, float] | tuple[None, None]:
    """AP of one class: (all points, VOC 2010 and later; 11 points, VOC 2007).

    A detection answers for the object that it overlaps most. It is right if by at least ``threshold`` and no better
    detection has found that object, and wrong if not; but it is not counted if the object is difficult, nor if it
    would be wrong and lies, by a share of at least ``threshold`` of its own area, in a crowd region.

    Args:
        detections: of each image.
        targets: of each image.
        label: the class, an index.
        threshold: IoU from which on a detection has found an object.

    Returns:
        Both in 0 … 1, or both None where there is no object to find.
    """
    num_objects, _, right = ranked(detections, targets, label, threshold)
    if num_objects == 0:
        return None, None
    num_right = np.cumsum(right)
    precision = num_right / np.arange(1, len(right) + 1)
    # The best precision at this recall or a higher one, and 0 at recalls that are never reached.
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # Recall grows by 1/num_objects with every right detection, so the area is a sum over these.
    all_points = float(envelope[:-1][right].sum() / num_objects)
    # As in the Python evaluators that published figures come from, three of these levels lie one bit above 0.3, 0.6
    # and 0.7, so a recall of just 9/15 does not reach the seventh. The reference's figure at IoU 0.1 depends on it.
    reached = np.searchsorted(num_right / num_objects, np.linspace(0.0, 1.0, 11))
    return all_points, float(envelope[reached].mean())


def ranked(
    detections: Sequence[Detections], targets: Sequence[Target], label: int, threshold: float = 0.5
) -> tuple[int, npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """All detections of a class that count, best score first; arguments and rules as in ``voc_ap``.

    Returns:
        Objects to find, and of each detection (N,) its score and whether it is right.
    """
    num_objects = 0
    scores, verdicts = [np.zeros(0, np.float32)], [np.zeros(0, np.int8)]
    for found, target in zip(detections, targets, strict=True):
        objects = target.labels == label
        num_objects += int(np.sum(objects & ~(target.difficult | target.crowd)))
        mine = np.flatnonzero(found.labels == label)
        if len(mine) == 0:
            continue
        mine = mine[np.argsort(-found.scores[mine], kind="stable")]
        scores.append(found.scores[mine])
        verdicts.append(_verdicts(found.boxes[mine], target.where(objects), threshold))
    score, verdict = np.concatenate(scores), np.concatenate(verdicts)
    order = np.argsort(-score, kind="stable")
    order = order[verdict[order] != _IGNORED]
    return num_objects, score[order], verdict[order] == _RIGHT


def _verdicts(boxes: npt.NDArray[np.float32], objects: Target, threshold: float) -> npt.NDArray[np.int8]:
    """Which detections of one class in one image are right: (N, 4) best score first, M objects → (N,)."""
    verdicts = np.full(len(boxes), _WRONG, np.int8)
    singles, crowds = objects.where(~objects.crowd), objects.boxes[objects.crowd]
    if len(singles):
        overlaps = iou(boxes[:, None], singles.boxes[None])
        taken = np.zeros(len(singles), bool)
        for i, best in enumerate(overlaps.argmax(axis=1)):
            if overlaps[i, best] < threshold:
                continue
            if singles.difficult[best]:
                verdicts[i] = _IGNORED
            elif not taken[best]:
                verdicts[i] = _RIGHT
                taken[best] = True
    if len(crowds):
        # The part of a box that lies in a region is a subset of the box, so their IoU is the part's share of it.
        corners = np.maximum(boxes[:, None, :2], crowds[:, :2]), np.minimum(boxes[:, None, 2:], crowds[:, 2:])
        in_crowd = (iou(boxes[:, None], np.concatenate(corners, axis=-1)) >= threshold).any(axis=1)
        verdicts[in_crowd & (verdicts == _WRONG)] = _IGNORED
    return verdicts
