"""Choose the lowest score to show for each class, from a wanted precision or recall on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ssd_edge.evaluation.matching import Matches
from ssd_edge.evaluation.voc import ranked

Wish = Literal["precision", "recall"]


@dataclass(frozen=True)
class OperatingPoint:
    """The score chosen for a class, with the precision and recall that it gives.

    Attributes:
        label: the class's name.
        num_objects: number of objects to find, without difficult ones and crowds.
        score: lowest score of the detections to show; None if no score fulfils the wish.
        precision: share of these detections that are right; None if ``score`` is None.
        recall: share of the objects that these detections find; None if ``score`` is None.
    """

    label: str
    num_objects: int
    score: float | None = None
    precision: float | None = None
    recall: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return asdict(self)


def choose(matches: Sequence[Matches], labels: Sequence[str], wish: Wish, value: float) -> list[OperatingPoint]:
    """Choose a score for each class that fulfils a wish for precision or recall, at the least cost in the other.

    For a wanted precision, it is the lowest score that reaches it, which finds most objects. For a wanted recall, it is
    the highest score that reaches it, which makes fewest errors. A detection is right by the rules of ``voc_ap`` at an
    IoU of 0.5.

    Args:
        matches: the detections of each class, down to low scores, matched by ``voc_matches``.
        labels: class names.
        wish: the wanted quantity.
        value: the wanted value, in 0 … 1.
    """
    return [_point(of_class, name, wish, value) for of_class, name in zip(matches, labels, strict=True)]


def _point(matches: Matches, name: str, wish: Wish, value: float) -> OperatingPoint:
    num_objects, scores, right = ranked(matches)
    if num_objects == 0 or len(scores) == 0:
        return OperatingPoint(name, num_objects)
    num_right = np.cumsum(right)
    precision, recall = num_right / np.arange(1, len(right) + 1), num_right / num_objects
    # Detections of equal score can only be shown together, so only the last of them is a possible cut.
    last_of_score = np.append(scores[1:] < scores[:-1], True)
    fulfils = np.flatnonzero(((precision if wish == "precision" else recall) >= value) & last_of_score)
    if len(fulfils) == 0:
        return OperatingPoint(name, num_objects)
    place = fulfils[-1] if wish == "precision" else fulfils[0]
    return OperatingPoint(name, num_objects, float(scores[place]), float(precision[place]), float(recall[place]))
