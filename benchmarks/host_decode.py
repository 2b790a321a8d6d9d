"""Milliseconds of the host decode at a threshold of 0.01, for a small network's heads and a large network's noise."""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from figure import Figure

from ssd_edge import boxes
from ssd_edge.candidates import candidates
from ssd_edge.decode import Decoder
from ssd_edge.machine.summary import summary
from ssd_edge.models.registry import make_spec
from ssd_edge.spec import ModelSpec

Heads = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]

LARGE = make_spec("ssd300_vgg16", [str(k) for k in range(90)], "coco")
SMALL = make_spec("ssdlite300_mobilenet_v2", ["a", "b", "c"])


def heads(background: float, noise: float, objects: int, seed: int = 0) -> Heads:
    """Make heads of 8732 boxes where background leads by ``background``, except in ``objects`` clusters of 12 boxes."""
    rng = np.random.default_rng(seed)
    loc = rng.normal(0, 1, (8732, 4)).astype(np.float32)
    logits = rng.normal(0, noise, (8732, 91)).astype(np.float32)
    logits[:, 0] += background
    for start in rng.integers(0, 8732 - 12, objects):
        logits[start : start + 12, rng.integers(1, 91)] += background + 2
    return loc, logits


def crowded(objects: int, seed: int = 0) -> Heads:
    """Make heads of 1917 boxes that detect ``objects``: the better a default box fits, the higher its score."""
    rng = np.random.default_rng(seed)
    defaults = boxes.default_boxes(SMALL)
    corners = boxes.to_xyxy(defaults).astype(np.float32)
    loc = rng.normal(0, 0.5, (1917, 4)).astype(np.float32)
    logits = rng.normal(0, 1, (1917, 4)).astype(np.float32)
    logits[:, 0] += 7.5
    for _ in range(objects):
        size = rng.uniform(0.1, 0.4, 2)
        centre = rng.uniform(size / 2, 1 - size / 2)
        box = np.concatenate([centre - size / 2, centre + size / 2]).astype(np.float32)
        iou = boxes.iou(box[None], corners)
        near = np.flatnonzero(iou > 0.3)
        exact = boxes.encode(np.repeat(box[None], len(near), 0), defaults[near], SMALL.variances)
        loc[near] = exact + rng.normal(0, 0.4, (len(near), 4))
        logits[near, rng.integers(1, 4)] += 15 * iou[near]
    return loc, logits


CASES: dict[str, tuple[ModelSpec, Heads]] = {
    "1917 boxes, 4 classes": (SMALL, crowded(20, seed=2)),
    "8732 boxes, 91 classes, noise": (LARGE, heads(0, 1.0, 0)),
    "half-trained": (LARGE, heads(6, 1.5, 40)),
    "trained": (LARGE, heads(9, 1.5, 40)),
}
"""Heads by name. A trained network has clear background; noise shows the time when it has not."""

GOALS = {"1917 boxes, 4 classes": 1.0, "8732 boxes, 91 classes, noise": 3.0}


def measure(runs: int = 200) -> Figure:
    """Measure the medians over runs, with the cases in turns."""
    decoders = {name: Decoder(spec) for name, (spec, _) in CASES.items()}
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(runs):
        for name, (_, (loc, logits)) in CASES.items():
            began = perf_counter()
            decoders[name](loc, logits, (480, 640))
            times[name].append(1000 * (perf_counter() - began))
    detail: dict[str, Any] = {name: _detail(name, times[name]) for name in CASES}
    medians = {name: median(times[name]) for name in CASES}
    small, large = GOALS
    others = ", ".join(f"{name} {medians[name]:.1f}" for name in CASES if name not in GOALS)
    return Figure(
        "host-decode",
        medians[small],
        f"ms, median, {small}",
        "<= 1, and <= 3 for noise of 8732 boxes, 91 classes",
        all(medians[name] <= goal for name, goal in GOALS.items()),
        {**detail, "machine": summary()},
        f"{large} {medians[large]:.1f}; 8732 boxes, 91 classes, {others}",
    )


def _detail(name: str, times: list[float]) -> dict[str, Any]:
    spec, (loc, logits) = CASES[name]
    detections = Decoder(spec)(loc, logits, (480, 640))
    return {
        "median ms": median(times),
        "best ms": min(times),
        "candidates": int(candidates(loc, logits, spec).counts.sum()),
        "detections": len(detections),
        "cut by top-k": detections.num_cut,
    }
