"""Match the detections of a class with its objects once, so that AP can be computed for any choice of the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections

Verdicts = npt.NDArray[np.int8]
"""(T, N): ``WRONG``, ``RIGHT`` or ``IGNORED``, for each of T IoU thresholds and N detections."""

WRONG, RIGHT, IGNORED = 0, 1, 2

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's, as pycocotools computes them."""

Areas = tuple[float, float]
"""Least and largest area of a box, width × height in pixels; both count."""

ALL: Areas = (0.0, np.inf)
SIZES: dict[str, Areas] = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""COCO's sizes of objects."""

COCO_LIMIT = 100
"""Number of detections of a class that COCO counts in one image."""


@dataclass(frozen=True, eq=False)
class Matches:
    """The detections of one class in all images, best score first; equal scores in the order of the images.

    Attributes:
        images: (N,) int64, index of each detection's image.
        scores: (N,) float32.
        verdicts: (T, N), see ``Verdicts``.
        objects: (number of images,) int64, number of objects to find in each image.
    """

    images: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    verdicts: Verdicts
    objects: npt.NDArray[np.int64]


def matched(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    label: int,
    judge: Callable[[npt.NDArray[np.float32], Target], Verdicts],
    limit: int | None = None,
    areas: Areas = ALL,
) -> Matches:
    """Match the detections of one class.

    Args:
        detections: detections in each image.
        targets: objects in each image.
        label: index of the class.
        judge: judges the detections of one image, (N, 4) float32 boxes with the best score first, given the objects of
            the class in it.
        limit: number of detections that count in an image, the best; None for all.
        areas: objects of another area need not be found.
    """
    if len(detections) != len(targets):
        raise ValueError(f"there must be Detections for each of {len(targets)} targets, but got {len(detections)}")
    images, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    verdicts: list[Verdicts] = [judge(np.zeros((0, 4), np.float32), Target.of([], []))]
    for image in np.unique(_images(detections)[_labels(detections) == label]).tolist():
        detected, target = detections[image], targets[image]
        own = np.flatnonzero(detected.labels == label)
        own = own[np.argsort(-detected.scores[own], kind="stable")][:limit]
        images.append(np.full(len(own), image))
        scores.append(detected.scores[own])
        verdicts.append(judge(detected.boxes[own], target.where(target.labels == label)))
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    to_find = np.concatenate(
        [np.zeros(0, bool), *(target.to_find & _within(target.boxes, areas) for target in targets)]
    )
    objects = np.bincount(_images(targets)[(_labels(targets) == label) & to_find], minlength=len(targets))
    return Matches(np.concatenate(images)[order], score[order], np.concatenate(verdicts, axis=1)[:, order], objects)


def _images(labelled: Sequence[Detections] | Sequence[Target]) -> npt.NDArray[np.int64]:
    """Return the image of each box, all images one after the other."""
    return np.repeat(np.arange(len(labelled)), [len(one.labels) for one in labelled])


def _labels(labelled: Sequence[Detections] | Sequence[Target]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(0, np.int64), *(one.labels for one in labelled)])


def coco_matches(
    detections: Sequence[Detections], targets: Sequence[Target], label: int, areas: Areas = ALL
) -> Matches:
    """Match the detections of one class by COCO's rules at its ten ``IOU_THRESHOLDS``; arguments as in ``matched``."""
    return matched(detections, targets, label, partial(coco_verdicts, areas=areas), COCO_LIMIT, areas)


def coco_verdicts(boxes: npt.NDArray[np.float32], objects: Target, areas: Areas = ALL) -> Verdicts:
    """Judge the detections of one class in one image as pycocotools' ``evaluateImg`` does.

    A detection takes the free object that it overlaps most, of equal ones the last. If it reaches the threshold with
    none, it is ignored where that share of it lies in a crowd or a difficult object (see ``coco.py``), or where it is
    the first on an object of another area; else it is wrong, but ignored if its own area is another.

    Args:
        boxes: (N, 4) float32 x1, y1, x2, y2, best score first.
        objects: the objects of the class.
        areas: objects of another area need not be found.
    """
    verdicts = np.full((len(IOU_THRESHOLDS), len(boxes)), WRONG, np.int8)
    verdicts[:, ~_within(boxes, areas)] = IGNORED
    if not len(objects) or not len(boxes):
        return verdicts
    regions, others = objects.difficult | objects.crowd, ~_within(objects.boxes, areas)
    overlaps = _overlaps(boxes, objects.boxes, regions)[:, ::-1]  # so that argmax finds the last of equal ones
    wanted, unwanted = np.flatnonzero(~(regions | others)[::-1]), np.flatnonzero((regions | others)[::-1])
    taken = np.zeros((len(IOU_THRESHOLDS), len(objects)), bool)
    for i in np.flatnonzero(overlaps.max(axis=1, initial=0) >= IOU_THRESHOLDS[0]):
        left = np.ones(len(IOU_THRESHOLDS), bool)
        for columns, verdict in ((wanted, RIGHT), (unwanted, IGNORED)):
            if not len(columns):
                continue
            free = np.where(taken[:, columns], -1.0, overlaps[i, columns])
            finds = np.flatnonzero(left & (free.max(axis=1) >= IOU_THRESHOLDS))
            taken[finds, columns[free.argmax(axis=1)[finds]]] = True
            taken[:, regions[::-1]] = False  # a region holds any number
            verdicts[finds, i] = verdict
            left[finds] = False
    return verdicts


def _within(boxes: npt.NDArray[np.float32], areas: Areas) -> npt.NDArray[np.bool_]:
    """Tell which boxes (N, 4) have an area in a range, as (N,) bool."""
    area = _sizes(boxes).prod(axis=-1)
    return np.asarray((area >= areas[0]) & (area <= areas[1]))


def _overlaps(
    boxes: npt.NDArray[np.float32], objects: npt.NDArray[np.float32], regions: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Compute (N, M) IoU, or for regions the share of the box inside, with the roundings of pycocotools' ``bbIou``."""
    low, size = boxes[:, None, :2].astype(float), _sizes(boxes)[:, None]
    other_low, other_size = objects[None, :, :2].astype(float), _sizes(objects)[None]
    shared = np.minimum(low + size, other_low + other_size) - np.maximum(low, other_low)
    inside = np.where((shared > 0).all(axis=-1), shared.prod(axis=-1), 0.0)
    area, other_area = size.prod(axis=-1), other_size.prod(axis=-1)
    whole = np.where(regions, area, area + other_area - inside)
    return np.asarray(np.divide(inside, whole, out=np.zeros_like(inside), where=inside > 0))


def _sizes(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.maximum(boxes[:, 2:].astype(float) - boxes[:, :2], 0.0)
