"""Name the kind of each error, by the rules of TIDE (Bolya et al., ECCV 2020, arXiv 2008.08115, section 2.2).

Which detections are right is decided by ``evaluation.voc``, so that the errors explain its AP50.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import areas, iou
from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation.matching import IGNORED, RIGHT, SIZES
from ssd_edge.evaluation.voc import verdicts

FOUND = 0.5
"""Lowest IoU at which a detection finds an object."""
NEAR = 0.1
"""Lowest IoU at which a detection is about an object at all."""

KINDS = {
    "class": "on an object, but of another class",
    "place": "the right class, but the box does not fit",
    "class-and-place": "near an object of another class",
    "duplicate": "an object that a better detection has found",
    "background": "where no object is",
    "missed": "an object that no detection is about",
}
"""The kinds of error; all but the last are kinds of detections."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What is right and wrong in one image.

    Attributes:
        kind: (N,) str: of each detection ``right``, ``ignored`` or one of ``KINDS``.
        about: (N,) int64: index of the object that a detection found, or is in error about; −1 for none.
        found: (M,) bool: whether a detection found each object.
        missed: (M,) bool: objects to find that no detection found, or is in error about by class or place alone.
    """

    kind: npt.NDArray[np.str_]
    about: npt.NDArray[np.int64]
    found: npt.NDArray[np.bool_]
    missed: npt.NDArray[np.bool_]


def judge(detected: Detections, target: Target) -> Judged:
    """Name the kind of each detection in one image, and the objects that are missed.

    The kinds are tried in TIDE's order: place, class, duplicate, background, and what remains is both.

    Args:
        detected: detections of all classes, best score first.
        target: objects, in the same pixels.
    """
    kind = np.full(len(detected), "background", dtype="<U16")
    about = np.full(len(detected), -1, np.int64)
    found = np.zeros(len(target), bool)
    singles = np.flatnonzero(~target.crowd)
    overlaps = _overlaps(detected, target, singles)
    same = detected.labels[:, None] == target.labels[singles][None]
    for label in np.unique(detected.labels):
        own = np.flatnonzero(detected.labels == label)
        verdict = verdicts(detected.boxes[own], target.where(target.labels == label), FOUND)
        kind[own[verdict == RIGHT]], kind[own[verdict == IGNORED]] = "right", "ignored"
    for i in range(len(detected)):
        if kind[i] == "ignored" or not len(singles):
            continue
        of_class, of_others = np.where(same[i], overlaps[i], 0.0), np.where(same[i], 0.0, overlaps[i])
        best, other = int(of_class.argmax()), int(of_others.argmax())
        if kind[i] == "right":
            about[i] = singles[best]
            found[singles[best]] = True
        elif NEAR <= of_class[best] < FOUND:
            kind[i], about[i] = "place", singles[best]
        elif of_others[other] >= FOUND:
            kind[i], about[i] = "class", singles[other]
        elif of_class[best] >= FOUND:
            kind[i], about[i] = "duplicate", singles[best]
        elif of_others[other] >= NEAR:
            kind[i], about[i] = "class-and-place", singles[other]
    explained = np.zeros(len(target), bool)
    explained[about[np.isin(kind, ["class", "place"])]] = True
    return Judged(kind, about, found, target.to_find & ~found & ~explained)


def size_of_objects(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.str_]:
    """Name COCO's size of boxes (N, 4) ``x1, y1, x2, y2``: (N,) ``small``, ``medium`` or ``large``."""
    return np.select([areas(boxes) < most for _, most in SIZES.values()], list(SIZES), "large")


def _overlaps(detected: Detections, target: Target, singles: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    return iou(detected.boxes[:, None], target.boxes[singles][None])
