"""Find labels that a trained model contradicts with certainty: a missing box, another class, a loose box.

What the model does not see is not held against a label: that is how hard objects look. A model that has learnt these
very labels contradicts them less, for it may have learnt their errors too; best is one that was trained on others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import iou
from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections
from ssd_edge.evaluation.voc import ranked, voc_matches
from ssd_edge.failures.kinds import FOUND, NEAR

LEAST_SCORE = 0.05
"""Detections below this score contradict nothing."""

LEAST_LABELS = 20
"""Number of labels of a class from which on it can be said how its boxes usually fit."""

KINDS_OF_DOUBT = ("other class", "loose box", "missing box", "none")

CERTAIN = 0.5
"""Certainty from which on a doubt is worth a look."""

LIKELY = 0.1
"""Certainty from which on the kinds take turns in a list."""


@dataclass(frozen=True)
class Doubt:
    """What a model says against one label, or against there being none.

    Attributes:
        image: the file.
        kind: one of ``KINDS_OF_DOUBT``; ``none`` if nothing speaks against the label.
        certainty: 0 … 1, by which those of a kind are sorted; see ``doubts_in`` for its meaning in each.
        label: the class as labelled; "" for a missing box.
        box: ``x1, y1, x2, y2`` as labelled, in pixels; of the detection, for a missing box.
        suggested_label: the class that the model sees.
        suggested_box: the box that the model sees; the labelled one for kind ``none``.
        overlap: IoU of both boxes; 0 for a missing box.
    """

    image: Path
    kind: str
    certainty: float
    label: str
    box: tuple[float, float, float, float]
    suggested_label: str
    suggested_box: tuple[float, float, float, float]
    overlap: float

    @property
    def sentence(self) -> str:
        """What is in doubt, in words."""
        if self.kind == "missing box":
            return f"the model sees {self.suggested_label}, and there is no label"
        if self.kind == "other class":
            return f"labelled {self.label}, and the model sees {self.suggested_label}"
        return f"the box of this {self.label} has an IoU of {self.overlap:.2f} with the model's"

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {**asdict(self), "image": str(self.image)}


def doubts(
    images: Sequence[Path], detections: Sequence[Detections], targets: Sequence[Target], labels: Sequence[str]
) -> list[Doubt]:
    """List every label and every unlabelled detection of a data set, the most doubtful first, see ``in_turns``.

    Args:
        images: files of the images.
        detections: detections in each image, best first, down to low scores.
        targets: the labelled objects of each image.
        labels: class names.
    """
    habits = [Habit.of(detections, targets, label) for label in range(len(labels))]
    listed = [
        doubt
        for image, detected, target in zip(images, detections, targets, strict=True)
        for doubt in doubts_in(image, detected, target, labels, habits)
    ]
    return in_turns(listed)


def in_turns(listed: Sequence[Doubt]) -> list[Doubt]:
    """Sort by certainty within each kind; the kinds take turns, first those of a certainty of ``LIKELY`` or more.

    Certainty does not mean the same in each kind: where people often leave objects out, a missing box is certain a
    hundred times over before the first of the other kinds. Labels without a doubt come last.
    """
    turns: Counter[str] = Counter()
    places = []
    for doubt in sorted(listed, key=lambda one: -one.certainty):
        turns[doubt.kind] += 1
        places.append((doubt.kind == "none", doubt.certainty < LIKELY, turns[doubt.kind], doubt))
    return [doubt for *_, doubt in sorted(places, key=lambda place: place[:3])]


def doubts_in(
    image: Path, detected: Detections, target: Target, labels: Sequence[str], habits: Sequence[Habit]
) -> Iterator[Doubt]:
    """Yield what a model says against each label of an image, and against what has none.

    - *other class*: a detection of another class lies on the box (IoU ≥ 0.5). Certainty: the share of its score in the
      scores of both classes there, so that it does not matter how hard the object is to see.
    - *loose box*: the best detection of the class on the label, or near it, fits less than the boxes of this class
      do. Certainty: see ``Habit.loose``, times that of a detection with such a score.
    - *missing box*: a detection is on no label. Certainty: the share of detections of the class with such a score that
      are on a label, see ``Habit.labelled_at``; times the share of it that lies in no label of its class.

    Args:
        image: the file.
        detected: its detections, best first.
        target: its labelled objects; crowds and difficult objects are not doubted.
        labels: class names.
        habits: of each class.
    """
    pairs = _Pairs.of(detected, target)
    detected, singles = pairs.detected, pairs.labelled
    for row, (box, label) in enumerate(zip(singles.boxes, singles.labels.tolist(), strict=True)):
        own, near, other = int(pairs.own[row]), int(pairs.near[row]), int(pairs.other[row])
        of_own = float(detected.scores[own]) if own >= 0 else LEAST_SCORE
        of_other = float(detected.scores[other]) / (float(detected.scores[other]) + of_own) if other >= 0 else 0.0
        loose = 0.0
        if near >= 0:
            habit = habits[label]
            loose = habit.loose(float(pairs.overlaps[row, near])) * habit.labelled_at(float(detected.scores[near]))
        kind, certainty, seen = max(
            ("none", 0.0, -1), ("other class", of_other, other), ("loose box", loose, near), key=lambda one: one[1]
        )
        given = (labels[label], box)
        found = given if seen < 0 else (labels[detected.labels[seen]], detected.boxes[seen])
        yield _doubt(image, kind, certainty, given, found)
    on_a_label = set(np.flatnonzero((iou(detected.boxes[:, None], target.boxes[None]) >= FOUND).any(axis=1)).tolist())
    for i in sorted(set(range(len(detected))) - on_a_label - set(pairs.near.tolist())):
        label = int(detected.labels[i])
        inside = _share_inside(detected.boxes[i], target.where((target.labels == label) | target.crowd))
        certainty = habits[label].labelled_at(float(detected.scores[i])) * (1 - inside)
        yield _doubt(image, "missing box", certainty, ("", detected.boxes[i]), (labels[label], detected.boxes[i]))


class _Pairs(NamedTuple):
    """Which detection says something about which label of an image; −1 for none.

    Attributes:
        detected: (N) detections from ``LEAST_SCORE`` on.
        labelled: (M) labelled objects that may be doubted.
        overlaps: (M, N) IoU.
        own: (M,) best detection of the label's class on it.
        near: (M,) ``own``, or the best detection of the class that is near it and on no other label of the class.
        other: (M,) best detection of another class on it.
    """

    detected: Detections
    labelled: Target
    overlaps: npt.NDArray[np.float32]
    own: npt.NDArray[np.int64]
    near: npt.NDArray[np.int64]
    other: npt.NDArray[np.int64]

    @classmethod
    def of(cls, detected: Detections, target: Target) -> _Pairs:
        detected, labelled = detected.above(LEAST_SCORE), target.where(target.to_find)
        overlaps = iou(labelled.boxes[:, None], detected.boxes[None])
        same = labelled.labels[:, None] == detected.labels[None]
        on = overlaps >= FOUND
        own = _best(detected, on & same)
        free = ~(on & same).any(axis=0)
        near = _best(detected, (overlaps >= NEAR) & same & free)
        return cls(detected, labelled, overlaps, own, np.where(own >= 0, own, near), _best(detected, on & ~same))


@dataclass(frozen=True, eq=False)
class Habit:
    """How the detections of a class usually lie to the labels.

    Attributes:
        scores: (N,) float32, falling: scores of the detections that count.
        labelled: (N,) falling: share of such detections that are on a label of the class, by isotonic regression.
        overlaps: (M,) rising: IoU of each label with the best detection on it or near it.
    """

    scores: npt.NDArray[np.float32]
    labelled: npt.NDArray[np.float64]
    overlaps: npt.NDArray[np.float64]

    @classmethod
    def of(cls, detections: Sequence[Detections], targets: Sequence[Target], label: int) -> Habit:
        """Learn the habit of a class from all images."""
        _, scores, right = ranked(voc_matches(detections, targets, label))
        overlaps = []
        for detected, target in zip(detections, targets, strict=True):
            pairs = _Pairs.of(detected, target)
            rows = np.flatnonzero((pairs.labelled.labels == label) & (pairs.near >= 0))
            overlaps += pairs.overlaps[rows, pairs.near[rows]].tolist()
        return cls(scores, _falling(right), np.sort(np.asarray(overlaps, np.float64)))

    def labelled_at(self, score: float) -> float:
        """Share of the detections with such a score that are on a label."""
        last = int(np.sum(self.scores >= np.float32(score))) - 1
        return float(self.labelled[last]) if last >= 0 else 0.0

    def loose(self, overlap: float) -> float:
        """Share of the labels that fit as little as this one, or less, beyond what the model's own error explains.

        That error is taken as normal in −ln(1 − IoU), with the median and the quartiles of all labels;
        the share of false discoveries is what it explains by what is observed (Efron, Large-Scale Inference, 2010).
        """
        number = len(self.overlaps)
        if number < LEAST_LABELS:
            return 0.0
        fits = -np.log(1 - np.minimum(self.overlaps, 0.999))
        low, middle, high = np.quantile(fits, [0.25, 0.5, 0.75]).tolist()
        # A normal's quartiles lie 0.6745 spreads from its middle; those of few labels may be too narrow by chance.
        spread = max(middle - low, (high - low) / 2) / 0.6745 * (1 + number**-0.5)
        own = -np.log(1 - min(overlap, 0.999))
        expected = 0.5 * math.erfc((middle - own) / max(spread, 1e-6) / math.sqrt(2)) * number
        observed = int(np.sum(self.overlaps <= overlap))
        return max(0.0, 1 - expected / max(1, observed))


_Seen = tuple[str, npt.NDArray[np.float32]]


def _falling(values: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Fit a falling sequence to (N,) values with least squares, by pooling neighbours that rise."""
    pools: list[tuple[float, int]] = []  # (sum, number) of each
    for value in values.tolist():
        total, number = float(value), 1
        while pools and pools[-1][0] / pools[-1][1] <= total / number:
            more, others = pools.pop()
            total, number = total + more, number + others
        pools.append((total, number))
    return np.repeat([total / number for total, number in pools], [number for _, number in pools]).astype(np.float64)


def _best(detected: Detections, fitting: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Index of the detection of highest score in each row of (M, N) that fits; −1 where none does."""
    if not fitting.size:
        return np.full(len(fitting), -1, np.int64)
    return np.where(fitting.any(axis=1), np.where(fitting, detected.scores, -1.0).argmax(axis=1), -1)


def _doubt(image: Path, kind: str, certainty: float, given: _Seen, seen: _Seen) -> Doubt:
    overlap = float(iou(given[1], seen[1])) if kind != "missing box" else 0.0
    x1, y1, x2, y2 = (float(edge) for edge in given[1])
    a, b, c, d = (float(edge) for edge in seen[1])
    return Doubt(image, kind, certainty, given[0], (x1, y1, x2, y2), seen[0], (a, b, c, d), overlap)


def _share_inside(box: npt.NDArray[np.float32], target: Target) -> float:
    """Highest share of a box that lies in one of the objects."""
    if not len(target):
        return 0.0
    part = np.concatenate(
        [np.maximum(box[None, :2], target.boxes[:, :2]), np.minimum(box[None, 2:], target.boxes[:, 2:])], axis=-1
    )
    # A part of the box is a subset of it, so the IoU of the two is the part's share.
    return float(iou(box[None], part).max())
