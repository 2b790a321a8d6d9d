"""Matching and MultiBox loss of the SSD paper (sections 2.2, equations 1 to 3) in plain NumPy, float64, one by one.

It shares no code with ssd_edge. Each function also returns its margin: by how much the closest of its decisions was
made. Where that is more than rounding, another implementation has to decide alike.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

IGNORE = -1
Array = npt.NDArray[Any]


class Targets(NamedTuple):
    """Targets of the default boxes of an image: loc (A, 4), classes (A,) with 0 for background, and the margin."""

    loc: Array
    classes: Array
    margin: float


class Loss(NamedTuple):
    """Total, loc and conf loss, and the margin in loss by which the hardest negatives were chosen."""

    total: float
    loc: float
    conf: float
    margin: float


def targets(objects: Array, labels: Array, vague: Array, defaults: Array, variances: tuple[float, float]) -> Targets:
    """Match default boxes (A, 4) cxcywh with objects (N, 4) xyxy, both in fractions; those ``vague`` are ignored."""
    margin = math.inf
    loc, classes = np.zeros((len(defaults), 4)), np.zeros(len(defaults), int)
    table = np.asarray([[overlap(box, default)[0] for default in defaults] for box in objects[~vague]])
    table = table.reshape(-1, len(defaults))
    named, boxes = labels[~vague], objects[~vague]
    matched: dict[int, int] = {}
    for d in range(len(defaults)):
        order = sorted(range(len(table)), key=lambda o: -table[o, d])
        if order:
            best = table[order[0], d]
            margin = min(margin, abs(best - 0.5))
            if best >= 0.5:
                matched[d] = order[0]
                margin = min([margin, *(best - table[o, d] for o in order[1:2])])
    left = table.copy()
    for _ in range(min(left.shape)):
        o, d = divmod(int(left.argmax()), len(defaults))
        best = left[o, d]
        margin = min(margin, abs(best))
        if best <= 0:
            break
        # A pair of another object and another default box would come next, whichever is first.
        rivals = [*np.delete(left[o], d), *np.delete(left[:, d], o)]
        margin = min([margin, *(best - rival for rival in rivals)])
        matched[d] = o
        left[o], left[:, d] = -1, -1
    for d, o in matched.items():
        cx, cy, w, h = defaults[d]
        x1, y1, x2, y2 = boxes[o]
        loc[d] = [
            ((x1 + x2) / 2 - cx) / w / variances[0],
            ((y1 + y2) / 2 - cy) / h / variances[0],
            math.log((x2 - x1) / w) / variances[1],
            math.log((y2 - y1) / h) / variances[1],
        ]
        classes[d] = named[o] + 1
    for d, default in enumerate(defaults):
        for region in objects[vague]:
            share = overlap(region, default)[1] / (default[2] * default[3])
            margin = min(margin, abs(share - 0.5))
            if share >= 0.5 and d not in matched:
                classes[d] = IGNORE
    return Targets(loc, classes, margin)


def overlap(box: Array, default: Array) -> tuple[float, float]:
    """IoU and shared area of a box, xyxy, and a default box, cxcywh."""
    cx, cy, w, h = (float(value) for value in default)
    x1, y1, x2, y2 = (float(value) for value in box)
    width = min(x2, cx + w / 2) - max(x1, cx - w / 2)
    height = min(y2, cy + h / 2) - max(y1, cy - h / 2)
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((x2 - x1) * (y2 - y1) + w * h - shared), shared


def multibox(loc: Array, logits: Array, loc_target: Array, class_target: Array, alpha: float, ratio: float) -> Loss:
    """Compute the loss of a batch: loc (B, A, 4), logits (B, A, C), their targets (B, A, 4) and (B, A)."""
    loc_sum = conf_sum = 0.0
    positives, margin = 0, math.inf
    for b in range(len(loc)):
        negatives = []
        matched = 0
        for a in range(loc.shape[1]):
            target = class_target[b, a]
            if target == IGNORE:
                continue
            row = logits[b, a].astype(np.float64)
            loss = math.log(np.exp(row - row.max()).sum()) + row.max() - row[target]
            if target == 0:
                negatives.append(loss)
                continue
            matched += 1
            conf_sum += loss
            for d in np.abs(loc[b, a].astype(np.float64) - loc_target[b, a]):
                loc_sum += 0.5 * d * d if d < 1 else d - 0.5
        positives += matched
        number = int(max(1, matched) * ratio)
        negatives.sort(reverse=True)
        conf_sum += sum(negatives[:number])
        if number < len(negatives):
            margin = min(margin, negatives[number - 1] - negatives[number])
    n = max(1, positives)
    return Loss((conf_sum + alpha * loc_sum) / n, loc_sum / n, conf_sum / n, margin)
