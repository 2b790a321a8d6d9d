"""What each kind of error costs: AP50 if all errors of that kind, and no others, were mended (TIDE, section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation.voc import average_precision
from ssd_edge.failures.kinds import KINDS, Judged

_MOVED = ("class", "place")
"""Kinds that are mended by moving the detection onto its object; the others are mended by leaving it out."""


@dataclass(frozen=True, eq=False)
class Ledger:
    """All detections and objects of a data set as columns, so that AP can be computed with some of them changed.

    Attributes:
        label: (N,) int64: class of each detection.
        score: (N,) float32.
        kind: (N,) str, see ``Judged``.
        object: (N,) int64: number of the object in the whole data set that it is about; −1 for none.
        object_label: (M,) int64: class of each object.
        to_find: (M,) bool: whether it has to be found.
        found, missed: (M,) bool, see ``Judged``.
    """

    label: npt.NDArray[np.int64]
    score: npt.NDArray[np.float32]
    kind: npt.NDArray[np.str_]
    object: npt.NDArray[np.int64]
    object_label: npt.NDArray[np.int64]
    to_find: npt.NDArray[np.bool_]
    found: npt.NDArray[np.bool_]
    missed: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, detections: Sequence[Detections], targets: Sequence[Target], judged: Sequence[Judged]) -> Ledger:
        """Join the judgements of all images."""
        starts = np.cumsum([0, *(len(target) for target in targets)])
        none = Target.of([], [])
        about = [np.where(one.about >= 0, one.about + start, -1) for one, start in zip(judged, starts, strict=False)]
        return cls(
            np.concatenate([np.zeros(0, np.int64), *(one.labels for one in detections)]),
            np.concatenate([np.zeros(0, np.float32), *(one.scores for one in detections)]),
            np.concatenate([np.zeros(0, "<U16"), *(one.kind for one in judged)]),
            np.concatenate([np.zeros(0, np.int64), *about]),
            np.concatenate([one.labels for one in (none, *targets)]),
            np.concatenate([one.to_find for one in (none, *targets)]),
            np.concatenate([np.zeros(0, bool), *(one.found for one in judged)]),
            np.concatenate([np.zeros(0, bool), *(one.missed for one in judged)]),
        )


def ap50_of_classes(ledger: Ledger, num_labels: int, mended: str = "") -> list[float | None]:
    """Compute VOC's AP50 of each class, all points, with one kind of error mended; None for a class with no object.

    A detection with an error of class or of place becomes right if it is the best one of both kinds about an object
    that no detection has found; otherwise it is left out, as those of the other kinds are. A missed object is left out.

    Args:
        ledger: the judged data set.
        num_labels: number of classes.
        mended: a key of ``KINDS``, or "" for AP50 as it is.
    """
    wrong = ledger.kind == mended
    keep, right, label = ledger.kind != "ignored", ledger.kind == "right", ledger.label.copy()
    objects = ledger.to_find & ~ledger.missed if mended == "missed" else ledger.to_find
    keep &= ~wrong
    if mended in _MOVED:
        moved = _best_about_unfound(ledger)
        moved = moved[wrong[moved]]
        keep[moved], right[moved] = True, True
        label[moved] = ledger.object_label[ledger.object[moved]]
    result: list[float | None] = []
    for one in range(num_labels):
        num_objects = int(np.sum(objects & (ledger.object_label == one)))
        own = np.flatnonzero(keep & (label == one))
        own = own[np.argsort(-ledger.score[own], kind="stable")]
        result.append(average_precision(num_objects, right[own])[0] if num_objects else None)
    return result


def costs(ledger: Ledger, num_labels: int) -> dict[str, list[float | None]]:
    """Compute by kind the AP50 that each class would gain without errors of that kind; None for a class with no object.

    What several kinds cost together is not the sum of these. Where every object is missed, mending that gives 1.
    """
    before = ap50_of_classes(ledger, num_labels)
    return {
        kind: [
            None if was is None else (1.0 if now is None else now) - was
            for now, was in zip(ap50_of_classes(ledger, num_labels, kind), before, strict=True)
        ]
        for kind in KINDS
    }


def _best_about_unfound(ledger: Ledger) -> npt.NDArray[np.int64]:
    """Indices of the best detection about each object to find that none found, of those in error by class or place."""
    rows = np.flatnonzero(np.isin(ledger.kind, _MOVED))
    rows = rows[(ledger.to_find & ~ledger.found)[ledger.object[rows]]]
    rows = rows[np.argsort(-ledger.score[rows], kind="stable")]
    return rows[np.unique(ledger.object[rows], return_index=True)[1]]
