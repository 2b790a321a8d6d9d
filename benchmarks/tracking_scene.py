"""Rendered conveyors whose objects are known from frame to frame, and what a mediocre detector would see of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssd_edge.data.synthetic import LABELS, Conveyor
from ssd_edge.detections import Detections

FPS = 10.0
MISSED, HIDDEN, FAINT, FALSE = 0.08, 0.01, 0.15, 0.7
"""Shares of objects that a frame misses, that become unseen for longer, that score low; false detections in a frame."""
LOOSE = 0.04
"""Standard deviation of a box's edges, as a share of its sides."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """Named boxes of one frame: (N,) int64 names, (N, 4) float32 xyxy."""

    names: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """A sequence of frames: the objects in each, and the detections, no two of which have the same score."""

    truth: list[Boxes]
    detections: list[Detections]


def scene(seed: int, frames: int, density: float = 9.0) -> Scene:
    """Make a sequence; the same arguments give the same one."""
    conveyor, rng = Conveyor(seed, density=density, fps=FPS), np.random.default_rng(seed)
    names: dict[tuple[int, int], int] = {}
    hidden_until: dict[int, int] = {}
    truth, detections = [], []
    for frame in range(frames):
        target, parts = conveyor.objects(frame)
        numbers = np.array([names.setdefault(part, len(names) + 1) for part in parts], np.int64)
        truth.append(Boxes(numbers, target.boxes))
        for number in numbers.tolist():
            if rng.random() < HIDDEN:
                hidden_until[number] = frame + int(rng.integers(3, 9))
        hidden = np.array([hidden_until.get(number, -1) >= frame for number in numbers.tolist()], bool)
        shown = np.flatnonzero(~hidden & (rng.random(len(numbers)) >= MISSED))
        detections.append(_detected(target.boxes[shown], target.labels[shown], conveyor.size, rng))
    return Scene(truth, detections)


def _detected(
    boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], size: tuple[int, int], rng: np.random.Generator
) -> Detections:
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    seen = boxes + rng.normal(0, LOOSE, boxes.shape) * sides
    scores = np.clip(rng.normal(0.85, 0.08, len(boxes)), 0.5, 0.999)
    scores = np.where(rng.random(len(boxes)) < FAINT, rng.uniform(0.12, 0.5, len(boxes)), scores)
    wrong = int(rng.poisson(FALSE))
    corners, extents = rng.uniform(0, np.array(size) - 60, (wrong, 2)), rng.uniform(30, 120, (wrong, 2))
    seen = np.concatenate([seen, np.concatenate([corners, corners + extents], axis=1)])
    scores = np.concatenate([scores, rng.uniform(0.12, 0.75, wrong)]) + rng.uniform(0, 1e-4, len(seen))
    best_first = np.argsort(-scores)
    return Detections(
        seen.astype(np.float32)[best_first],
        scores.astype(np.float32)[best_first],
        np.concatenate([labels, rng.integers(0, len(LABELS), wrong)])[best_first],
    )
