"""From which score on a class is worth showing, by a wish for precision or recall on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation.voc import ranked

Wish = Literal["precision", "recall"]


@dataclass(frozen=True)
class OperatingPoint:
    """One class at a score.

    Attributes:
        label: the class's name.
        num_objects: to be found; difficult ones and crowds are not counted.
        score: from which on its detections are shown; None where no score fulfils the wish.
        precision: share of the detections from there on that are right; None likewise.
        recall: share of the objects that they find; None likewise.
    """

    label: str
    num_objects: int
    score: float | None = None
    precision: float | None = None
    recall: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json.dumps``."""
        return asdict(self)


def choose(
    detections: Sequence[Detections], targets: Sequence[Target], labels: Sequence[str], wish: Wish, value: float
) -> list[OperatingPoint]:
    """The score of each class that fulfils a wish and costs least of the other.

    For a precision it is the lowest score from which on at least that share is right: it finds most. For a recall it is
    the highest score from which on at least that share is found: it errs least. Right is a detection as in ``voc_ap``,
    at an IoU of 0.5.

    Args:
        detections: of each image, down to low scores.
        targets: of each image.
        labels: class names.
        wish: what is asked for.
        value: of it, in 0 … 1.
    """
    return [_point(detections, targets, label, name, wish, value) for label, name in enumerate(labels)]


def _point(
    detections: Sequence[Detections], targets: Sequence[Target], label: int, name: str, wish: Wish, value: float
) -> OperatingPoint:
    num_objects, scores, right = ranked(detections, targets, label)
    if num_objects == 0 or len(scores) == 0:
        return OperatingPoint(name, num_objects)
    found = np.cumsum(right)
    precision, recall = found / np.arange(1, len(right) + 1), found / num_objects
    # Where several detections have one score, all of them are shown or none is.
    last_of_score = np.append(scores[1:] < scores[:-1], True)
    fulfils = np.flatnonzero(((precision if wish == "precision" else recall) >= value) & last_of_score)
    if len(fulfils) == 0:
        return OperatingPoint(name, num_objects)
    place = fulfils[-1] if wish == "precision" else fulfils[0]
    return OperatingPoint(name, num_objects, float(scores[place]), float(precision[place]), float(recall[place]))
