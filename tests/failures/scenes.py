"""Random objects, and detections with every kind of error among them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Target
from ssd_edge.detections import Detections

LABELS = ("a", "b", "c")
_CELL = 100


def scenes(seed: int, images: int) -> tuple[list[Detections], list[Target]]:
    """Make images of 4 × 4 cells with an object in about half of them, none near another, and detections of all kinds.

    Every score is another one, so that no ranking depends on the order of equal ones.
    """
    rng = np.random.default_rng(seed)
    detections, targets = [], []
    for _ in range(images):
        boxes, labels, found = [], [], []
        for cell in range(16):
            corner = np.array([cell % 4, cell // 4]) * _CELL
            box = np.concatenate([corner + rng.uniform(5, 20, 2), corner + rng.uniform(60, 95, 2)])
            label = int(rng.integers(3))
            if rng.random() < 0.5:
                boxes.append(box)
                labels.append(label)
            found += _around(rng, box, label)
        targets.append(Target.of(boxes, labels))
        scores = np.sort(rng.random(len(found)).astype(np.float32))[::-1]
        order = rng.permutation(len(found))
        detections.append(
            Detections(
                np.asarray([found[i][0] for i in order], np.float32).reshape(-1, 4),
                np.ascontiguousarray(scores),
                np.asarray([found[i][1] for i in order], np.int64),
            )
        )
    return detections, targets


def _around(
    rng: np.random.Generator, box: npt.NDArray[np.float64], label: int
) -> list[tuple[npt.NDArray[np.float64], int]]:
    """Return up to four detections at a box: good or shifted ones, of its class or of another."""
    found = []
    for _ in range(int(rng.integers(0, 5))):
        shift = rng.choice([2.0, 15.0, 45.0]) * rng.choice([-1.0, 1.0], 2)
        found.append((box + np.tile(shift, 2), label if rng.random() < 0.6 else int(rng.integers(3))))
    return found
