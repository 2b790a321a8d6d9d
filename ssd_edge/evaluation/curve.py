"""Compute AP for many choices of the images at once, each image counted as often as the choice says.

An image that is counted twice gives what a second copy of it would: a curve is read only where a right detection
raises its recall, and there the copies stand beside each other. (Detections of equal score stay in the order of the
images, where copies of an image would come one after the other.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssd_edge.evaluation.matching import IGNORED, RIGHT, Matches

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.float32]
"""(R, number of images) float32 whole numbers: how often each of R choices counts each image."""

COCO_RECALLS, VOC07_RECALLS = np.linspace(0, 1, 101), np.linspace(0, 1, 11)

_CHUNK = 128
"""Number of choices that are computed at once, so that their tables stay in the processor's cache."""


class Curve(NamedTuple):
    """The points of R precision-recall curves at which K right detections stand, best score first.

    Attributes:
        found: (R, K) int64, number of objects found up to each.
        precision: (R, K) the best precision at it or after it.
        total: (R,) int64, number of objects to find.
    """

    found: npt.NDArray[np.int64]
    precision: Floats
    total: npt.NDArray[np.int64]

    def at(self, recalls: Floats) -> Floats:
        """Return (R,) the mean precision at these recalls, of which the first is 0; NaN without objects.

        Precision is 0 at a recall that is not reached.
        """
        totals, rows = np.unique(self.total, return_inverse=True)
        # The number of recalls that n objects of these totals reach, by the comparison that the evaluators make.
        fractions = np.arange(totals.max(initial=0) + 1) / np.maximum(totals, 1)[:, None]
        reached = np.searchsorted(recalls, fractions, side="right")
        gained = np.diff(reached[rows[:, None], self.found], axis=1, prepend=0)
        return self._defined((self.precision * gained).sum(axis=1) / len(recalls))

    def area(self) -> Floats:
        """Return (R,) the area under the whole curve; NaN without objects."""
        gained = np.diff(self.found, axis=1, prepend=0)
        return self._defined((self.precision * gained).sum(axis=1) / np.maximum(self.total, 1))

    def _defined(self, values: Floats) -> Floats:
        return np.where(self.total > 0, values, np.nan)


def curves(matches: Matches, counts: Counts) -> Iterator[Curve]:
    """Yield the curves at each IoU threshold."""
    total = np.rint(counts @ matches.objects.astype(np.float64)).astype(np.int64)
    weights = counts[:, matches.images]
    seen = weights.cumsum(axis=1)  # float32 is exact up to 16 million detections
    for verdicts in matches.verdicts:
        right = np.flatnonzero(verdicts == RIGHT)
        found = weights[:, right].cumsum(axis=1)
        judged = seen[:, right]
        if (ignored := verdicts == IGNORED).any():
            judged -= (weights * ignored).cumsum(axis=1)[:, right]
        precision = found.astype(float) / np.maximum(judged, 1)
        best_after = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        yield Curve(found.astype(np.int64), best_after, total)


def coco_aps(matches: Matches, counts: Counts) -> Floats:
    """Compute (R, T) COCO's AP at each IoU threshold; NaN for a choice without an object to find."""
    parts = [np.stack([one.at(COCO_RECALLS) for one in curves(matches, some)], axis=1) for some in _chunks(counts)]
    return np.concatenate(parts)


def voc_aps(matches: Matches, counts: Counts) -> Floats:
    """Compute (R, 2) VOC's AP at the first IoU threshold, by 2010's rules and by 2007's; NaN as in ``coco_aps``."""
    parts = [next(curves(matches, some)) for some in _chunks(counts)]
    return np.concatenate([np.stack([one.area(), one.at(VOC07_RECALLS)], axis=1) for one in parts])


def _chunks(counts: Counts) -> list[Counts]:
    return [counts[k : k + _CHUNK] for k in range(0, max(1, len(counts)), _CHUNK)]
