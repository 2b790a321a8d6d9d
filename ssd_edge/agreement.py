"""How far an engine agrees with a reference on what is found, and how far it has to.

Two engines of one model never give the same bits: they add in another order, or compute in FP16. What has to stay is
each detection that the model is clear about: its class, its place, and nearly its score.
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
"""IoU from which on two boxes are the same detection."""

CHANCE = 4
"""From so many detections on, one may be lost to chance whatever the share: two boxes that NMS cannot tell apart."""


@dataclass(frozen=True)
class Tolerance:
    """What an engine of a precision may do differently.

    Attributes:
        score: largest difference of a score.
        share: of the detections, how many must be found again.
    """

    score: float
    share: float


TOLERANCES = {
    "FP32": Tolerance(0.01, 0.98),
    "FP16": Tolerance(0.05, 0.95),
    "BF16": Tolerance(0.15, 0.9),
    "INT8": Tolerance(0.15, 0.9),
}
"""By precision: FP32 has 24 bits of mantissa, FP16 11, BF16 8 and INT8 7, so that what a deep network sums up is off in
the sixth, the third or the second digit. An INT8 engine computes on the grid of its file, and differs from it where a
value lies between two steps and falls on the other one, or where its weights have a bit less."""


@dataclass(frozen=True)
class Agreement:
    """What became of the detections that count.

    Attributes:
        images: compared.
        tolerance: what may differ.
        of_class: by label, the detections of the reference that have to be found again, and of these how many are:
            by the same class, an IoU of at least 0.9, and a score that is no further apart than the tolerance.
        extra: detections of the engine where the reference has none of that class.
        largest_difference: of the scores of two boxes of one class in the same place; 0 where there are none.
    """

    images: int
    tolerance: Tolerance
    of_class: Mapping[str, tuple[int, int]]
    extra: int
    largest_difference: float

    @property
    def counted(self) -> int:
        """Detections of the reference that have to be found again."""
        return sum(counted for counted, _ in self.of_class.values())

    @property
    def matched(self) -> int:
        """Of those, found."""
        return sum(matched for _, matched in self.of_class.values())

    @property
    def share(self) -> float:
        """Of all that is to be found or should not have been, what agrees; 1 where there is nothing."""
        total = self.counted + self.extra
        return self.matched / total if total else 1.0

    @property
    def holds(self) -> bool:
        """Whether enough agrees, in all and of each class: a fault may be in the boxes of a few large objects alone."""
        return self._enough(self.counted + self.extra, self.matched) and not self.lost

    @property
    def lost(self) -> tuple[str, ...]:
        """Classes of which too few are found."""
        return tuple(label for label, numbers in self.of_class.items() if not self._enough(*numbers))

    def _enough(self, total: int, matched: int) -> bool:
        by_chance = 1 if total >= CHANCE else 0
        return total - matched <= max(by_chance, (1 - self.tolerance.share) * total + 1e-9)

    def sentence(self) -> str:
        """The numbers in words, with what they are measured by."""
        extra = f", and {self.extra} stand where there should be none" if self.extra else ""
        worst = min(self.lost, key=lambda label: self.of_class[label][1] / self.of_class[label][0], default=None)
        if worst is not None and len(self.of_class) > 1:
            extra += f", {self.of_class[worst][1]} of {self.of_class[worst][0]} of class {worst}"
        return (
            f"{self.matched} of {self.counted} detections in {self.images} images match{extra}, largest score "
            f"difference {self.largest_difference:.3f} (a match: same class, IoU ≥ {SAME_PLACE}, score within "
            f"{self.tolerance.score:g}; {100 * self.tolerance.share:.0f} % are needed, and one may miss by chance)"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json.dumps``."""
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
    found: Sequence[Detections],
    tolerance: Tolerance,
    least: float,
    spec: ModelSpec,
) -> Agreement:
    """Compare what an engine found with what a reference did, image by image.

    Args:
        wanted: of the reference, in pixels of the same images: those that count, and those beside and below them.
        counts: (N,) of each image: which of them have to be found again.
        found: of the engine, down to scores of ``least − tolerance.score``.
        tolerance: what may differ.
        least: score from which the engine's detections are looked at; above it by more than the tolerance, one needs
            a detection of the reference in its place.
        spec: of the model.

    Raises:
        ValueError: not as many images on both sides.
    """
    counted, matched = np.zeros(len(spec.labels), np.int64), np.zeros(len(spec.labels), np.int64)
    extra, largest = 0, 0.0
    for one, which, other in zip(wanted, counts, found, strict=True):
        overlap = iou(one.boxes[:, None], other.boxes[None]) * (one.labels[:, None] == other.labels[None])
        difference = np.abs(one.scores[:, None] - other.scores[None])
        # Of boxes in one place, the one whose score is nearest; infinite where there is none.
        nearest = np.where(overlap >= SAME_PLACE, difference, np.float32(np.inf)).min(axis=1, initial=np.inf)[which]
        largest = max(largest, float(nearest[np.isfinite(nearest)].max(initial=0.0)))
        np.add.at(counted, one.labels[which], 1)
        np.add.at(matched, one.labels[which], nearest <= tolerance.score)
        # A full list says nothing of what is below its last score.
        told = max(least, float(one.scores[-1])) if len(one) == spec.max_detections else least
        sure = other.scores >= told + tolerance.score
        extra += int((sure & ~(overlap >= spec.nms_iou).any(axis=0)).sum())
    of_class = dict(zip(spec.labels, zip(counted.tolist(), matched.tolist(), strict=True), strict=True))
    return Agreement(len(wanted), tolerance, of_class, extra, largest)
