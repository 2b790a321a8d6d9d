"""Study a model's errors on labelled images: the numbers of ``eval --report``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import iou
from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections, Scores
from ssd_edge.evaluation.matching import SIZES, Matches
from ssd_edge.evaluation.voc import ranked
from ssd_edge.failures.costs import Ledger, ap50_of_classes, costs
from ssd_edge.failures.kinds import FOUND, KINDS, Judged, judge, size_of_objects


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall of a class as the score falls, at an IoU of 0.5.

    Attributes:
        num_objects: number of objects to find.
        score: (N,) float32, falling.
        recall, precision: (N,) in 0 … 1, of the detections down to each score.
    """

    num_objects: int
    score: npt.NDArray[np.float32]
    recall: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Failing:
    """One image as the model sees it, with the detections that are shown.

    Attributes:
        image: the file.
        detections: those with at least the shown score.
        target: the objects.
        judged: what is right and wrong.
        cost: the scores of the wrong detections, and 1 for each object missed, added up.
    """

    image: Path
    detections: Detections
    target: Target
    judged: Judged
    cost: float

    def errors(self) -> dict[str, int]:
        """Count the errors by kind."""
        kinds = Counter(self.judged.kind.tolist())
        kinds["missed"] = int(self.judged.missed.sum())
        return {kind: kinds[kind] for kind in KINDS if kinds[kind]}

    def shows(self, label: int) -> bool:
        """Tell whether an error is about a class: a wrong detection of it, or an object of it that was not found."""
        wrong = np.isin(self.judged.kind, list(KINDS))
        unfound = self.target.to_find & ~self.judged.found
        return bool(np.any(self.detections.labels[wrong] == label) or np.any(self.target.labels[unfound] == label))


@dataclass(frozen=True, eq=False)
class Study:
    """A model's errors on a set of images.

    Attributes:
        labels: class names.
        ap50: VOC's AP50 of each class; None for a class with no object to find.
        lost: by kind of error, the AP50 that each class would gain without it, over detections of every score.
        curves: of each class.
        shown: score of each class from which on detections are shown; all below is about these.
        counts: number of errors by kind, then by size: of the object, or of a detection that is about none.
        objects: number of objects to find, and number found, by size.
        confusion: (L + 1, L + 1) number of objects (rows) by the class of the detection on them (columns); the last row
            is background, the last column "not found".
        images: the images, worst first.
    """

    labels: tuple[str, ...]
    ap50: list[float | None]
    lost: dict[str, list[float | None]]
    curves: list[Curve]
    shown: tuple[float, ...]
    counts: dict[str, dict[str, int]]
    objects: dict[str, tuple[int, int]]
    confusion: npt.NDArray[np.int64]
    images: list[Failing]

    def mean_lost(self) -> dict[str, float]:
        """Average what each kind of error costs over the classes that have objects."""
        return {kind: _mean(values) for kind, values in self.lost.items()}

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``; curves are left out, images are those with an error."""
        return {
            "lost_ap50": {
                kind: {"mean": _mean(values), **dict(zip(self.labels, values, strict=True))}
                for kind, values in self.lost.items()
            },
            "shown_from": dict(zip(self.labels, self.shown, strict=True)),
            "errors": self.counts,
            "objects": {size: {"to_find": n, "found": found} for size, (n, found) in self.objects.items()},
            "confusion": {"labels": [*self.labels, None], "rows": self.confusion.tolist()},
            "worst": [
                {"image": str(one.image), "cost": one.cost, "errors": one.errors()} for one in self.images if one.cost
            ],
        }


def study(
    images: Sequence[Path],
    detections: Sequence[Detections],
    targets: Sequence[Target],
    labels: Sequence[str],
    shown: Sequence[float],
    matches: Sequence[Matches],
) -> Study:
    """Study the errors in ``detections[i]`` against ``targets[i]``, both in pixels of image i.

    Args:
        images: files of the images.
        detections: detections in each image, down to low scores, best first.
        targets: objects of each image.
        labels: class names.
        shown: score of each class from which on its detections are shown.
        matches: the detections of each class, matched by ``voc_matches``.
    """
    everything = Ledger.of(detections, targets, [judge(*pair) for pair in zip(detections, targets, strict=True)])
    least: Scores = np.asarray(shown, np.float32)
    failing = [
        _failing(image, one.above(least), target)
        for image, one, target in zip(images, detections, targets, strict=True)
    ]
    return Study(
        tuple(labels),
        ap50_of_classes(everything, len(labels)),
        costs(everything, len(labels)),
        [_curve(of_class) for of_class in matches],
        tuple(shown),
        _counts(failing),
        _objects(failing),
        _confusion(failing, len(labels)),
        sorted(failing, key=lambda one: -one.cost),
    )


def _failing(image: Path, detected: Detections, target: Target) -> Failing:
    judged = judge(detected, target)
    wrong = np.isin(judged.kind, list(KINDS))
    return Failing(image, detected, target, judged, float(detected.scores[wrong].sum() + judged.missed.sum()))


def _curve(matches: Matches) -> Curve:
    num_objects, score, right = ranked(matches)
    num_right = np.cumsum(right)
    return Curve(num_objects, score, num_right / max(1, num_objects), num_right / np.arange(1, len(right) + 1))


def _counts(failing: Sequence[Failing]) -> dict[str, dict[str, int]]:
    counts: Counter[tuple[str, str]] = Counter()
    for one in failing:
        of_detections, of_objects = (size_of_objects(part.boxes) for part in (one.detections, one.target))
        for kind, about, own in zip(one.judged.kind, one.judged.about, of_detections, strict=True):
            counts[str(kind), str(own if about < 0 else of_objects[about])] += 1
        counts.update(("missed", str(size)) for size in of_objects[one.judged.missed])
    return {kind: {size: counts[kind, size] for size in SIZES} for kind in KINDS}


def _objects(failing: Sequence[Failing]) -> dict[str, tuple[int, int]]:
    to_find: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for one in failing:
        sizes = size_of_objects(one.target.boxes)
        to_find.update(map(str, sizes[one.target.to_find]))
        found.update(map(str, sizes[one.target.to_find & one.judged.found]))
    return {size: (to_find[size], found[size]) for size in SIZES}


def _confusion(failing: Sequence[Failing], num_labels: int) -> npt.NDArray[np.int64]:
    """Pair detections and objects one to one: right ones first, then by score with the best free object of IoU 0.5."""
    table = np.zeros((num_labels + 1, num_labels + 1), np.int64)
    for one in failing:
        detected, target, judged = one.detections, one.target, one.judged
        free = target.to_find.copy()
        overlaps = iou(detected.boxes[:, None], target.boxes[None])
        order = np.argsort(judged.kind != "right", kind="stable")  # within each, best score first as they are
        for i in order[judged.kind[order] != "ignored"]:
            if judged.kind[i] == "right":
                best = int(judged.about[i])
            else:
                candidates = np.where(free, overlaps[i], 0.0) if len(target) else np.zeros(1)
                best = int(candidates.argmax()) if candidates.max() >= FOUND else -1
            row = num_labels
            if best >= 0:
                row, free[best] = int(target.labels[best]), False
            table[row, detected.labels[i]] += 1
        table[:num_labels, num_labels] += np.bincount(target.labels[free], minlength=num_labels)
    return table


def _mean(values: Sequence[float | None]) -> float:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else 0.0
