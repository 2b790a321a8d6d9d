"""Compare an engine's detections with a reference's, and decide whether they agree well enough.

Two engines of one model never give the same bits: they add in another order, or compute in FP16. What must stay is each
detection that the model is clear about: its class, its place, and nearly its score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import iou
from ssd_edge.detections import Detections
from ssd_edge.spec import ModelSpec

SAME_PLACE = 0.9
"""Lowest IoU at which two boxes count as the same detection."""

SAME_OBJECT = 0.5
"""Lowest IoU at which boxes of two different models count as the same object."""

CHANCE = 4
"""Of this many detections or more, one may be missing whatever the required share, since NMS may choose either of two
nearly equal boxes."""


@dataclass(frozen=True)
class Tolerance:
    """How much an engine of one precision may differ from the reference.

    Attributes:
        score: largest allowed difference between two scores.
        share: smallest share of the detections that must be found again.
    """

    score: float
    share: float


TOLERANCES = {
    "FP32": Tolerance(0.01, 0.98),
    "FP16": Tolerance(0.05, 0.95),
    "BF16": Tolerance(0.15, 0.9),
    "INT8": Tolerance(0.15, 0.9),
}
"""Tolerances by precision. FP32 has 24 bits of mantissa, FP16 11, BF16 8 and INT8 7, so the sums of a deep network are
off in the sixth, third or second digit. An INT8 engine computes on the quantization grid of its file; it differs where
a value between two steps is rounded to the other one, or where its weights have one bit less."""


@dataclass(frozen=True)
class Agreement:
    """Result of comparing an engine with a reference.

    Attributes:
        images: number of images compared.
        tolerance: how much the engine may differ.
        of_class: by label, the number of reference detections that must be found again, and how many of them were. A
            match has the same class, an IoU of at least 0.9, and a score within the tolerance.
        extra: detections of the engine where the reference has none of that class.
        largest_difference: largest score difference between two boxes of one class in the same place; 0 if there are
            no such pairs.
    """

    images: int
    tolerance: Tolerance
    of_class: Mapping[str, tuple[int, int]]
    extra: int
    largest_difference: float

    @property
    def counted(self) -> int:
        """Number of reference detections that must be found again."""
        return sum(counted for counted, _ in self.of_class.values())

    @property
    def matched(self) -> int:
        """Number of those detections that were found again."""
        return sum(matched for _, matched in self.of_class.values())

    @property
    def share(self) -> float:
        """Matched detections as a share of all expected and extra ones; 1 if there are none."""
        total = self.counted + self.extra
        return self.matched / total if total else 1.0

    @property
    def holds(self) -> bool:
        """Whether enough detections agree, overall and in each class.

        Classes are checked one by one because a fault may show only in the boxes of a few large objects.
        """
        return self._enough(self.counted + self.extra, self.matched) and not self.lost

    @property
    def lost(self) -> tuple[str, ...]:
        """Classes with too few matches."""
        return tuple(label for label, numbers in self.of_class.items() if not self._enough(*numbers))

    def _enough(self, total: int, matched: int) -> bool:
        allowed_by_chance = 1 if total >= CHANCE else 0
        return total - matched <= max(allowed_by_chance, (1 - self.tolerance.share) * total + 1e-9)

    def sentence(self) -> str:
        """Describe the result and the criteria of a match in one sentence."""
        extra = f", and {self.extra} are extra" if self.extra else ""
        worst = min(self.lost, key=lambda label: self.of_class[label][1] / self.of_class[label][0], default=None)
        if worst is not None and len(self.of_class) > 1:
            extra += f", {self.of_class[worst][1]} of {self.of_class[worst][0]} of class {worst}"
        return (
            f"{self.matched} of {self.counted} detections in {self.images} images match{extra}, largest score "
            f"difference {self.largest_difference:.3f} (a match: same class, IoU ≥ {SAME_PLACE}, score within "
            f"{self.tolerance.score:g}; {100 * self.tolerance.share:.0f} % are needed, and one may miss by chance)"
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {
            **asdict(self),
            "share": self.share,
            "holds": self.holds,
            "counted": self.counted,
            "matched": self.matched,
        }


def compare(
    wanted: Sequence[Detections],
    counts: Sequence[npt.NDArray[np.bool_]],
    detections: Sequence[Detections],
    tolerance: Tolerance,
    least: float,
    spec: ModelSpec,
) -> Agreement:
    """Compare an engine's detections with a reference's, image by image.

    Args:
        wanted: all detections of the reference, in pixels of the same images, also those that need not be found again.
        counts: (N,) for each image: which reference detections must be found again.
        detections: detections of the engine, down to scores of ``least − tolerance.score``.
        tolerance: how much the engine may differ.
        least: lowest score of the reference detections that count. An engine's detection that exceeds it by at least
            the score tolerance is extra unless the reference has a detection in its place.
        spec: the model's spec.

    Raises:
        ValueError: the two sides have different numbers of images.
    """
    counted, matched = np.zeros(len(spec.labels), np.int64), np.zeros(len(spec.labels), np.int64)
    extra, largest = 0, 0.0
    for reference, must_match, engine in zip(wanted, counts, detections, strict=True):
        same_class = reference.labels[:, None] == engine.labels[None]
        overlap = iou(reference.boxes[:, None], engine.boxes[None]) * same_class
        difference = np.abs(reference.scores[:, None] - engine.scores[None])
        # Score difference to the closest-scoring box in the same place; infinite where there is none.
        nearest = np.where(overlap >= SAME_PLACE, difference, np.float32(np.inf)).min(axis=1, initial=np.inf)
        nearest = nearest[must_match]
        largest = max(largest, float(nearest[np.isfinite(nearest)].max(initial=0.0)))
        np.add.at(counted, reference.labels[must_match], 1)
        np.add.at(matched, reference.labels[must_match], nearest <= tolerance.score)
        # A reference list cut at max_detections does not tell what else lies below its last score.
        is_full = len(reference) == spec.max_detections
        lowest_known = max(least, float(reference.scores[-1])) if is_full else least
        sure = engine.scores >= lowest_known + tolerance.score
        extra += int((sure & ~(overlap >= spec.nms_iou).any(axis=0)).sum())
    of_class = dict(zip(spec.labels, zip(counted.tolist(), matched.tolist(), strict=True), strict=True))
    return Agreement(len(wanted), tolerance, of_class, extra, largest)


def unmatched(first: Detections, second: Detections) -> int:
    """Count the detections of both models that have no partner: of the same class, with an IoU of at least 0.5.

    Each detection has one partner at most; the best pairs are made first.
    """
    overlap = iou(first.boxes[:, None], second.boxes[None]) * (first.labels[:, None] == second.labels[None])
    pairs = 0
    while overlap.size and overlap.max() >= SAME_OBJECT:
        row, column = np.unravel_index(overlap.argmax(), overlap.shape)
        overlap[row, :] = overlap[:, column] = 0
        pairs += 1
    return len(first) + len(second) - 2 * pairs
