"""Scenes with known objects, for the tests of tracking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssd_edge.detections import Detections

FPS = 30


def seen(boxes: Sequence[Sequence[float]], scores: Sequence[float] = (), labels: Sequence[int] = ()) -> Detections:
    """Make detections; without scores and labels, sure ones of label 0."""
    count = len(boxes)
    return Detections(
        np.asarray(boxes, np.float32).reshape(count, 4),
        np.asarray(scores or [0.9] * count, np.float32),
        np.asarray(labels or [0] * count, np.int64),
    )


def at(x: float, y: float, side: float = 40) -> list[float]:
    """Return a square box around a point."""
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]
