"""Milliseconds of the host decode for SSD300 with 90 classes, at a threshold of 0.01."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt
from figure import Figure

from ssd_edge.decode import Decoder
from ssd_edge.models.registry import make_spec

Heads = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def heads(background: float, noise: float, objects: int, seed: int = 0) -> Heads:
    """Heads as a network gives them: background wins by ``background`` but at ``objects`` clusters of 12 boxes."""
    rng = np.random.default_rng(seed)
    loc = rng.normal(0, 1, (8732, 4)).astype(np.float32)
    logits = rng.normal(0, noise, (8732, 91)).astype(np.float32)
    logits[:, 0] += background
    for start in rng.integers(0, 8732 - 12, objects):
        logits[start : start + 12, rng.integers(1, 91)] += background + 2
    return loc, logits


CASES = {
    "trained": heads(9, 1.5, 40),
    "half-trained": heads(6, 1.5, 40),
    "noise": heads(0, 1.0, 0),
}
"""A trained network is sure of its background; the others show what the time grows to when it is not."""


def measure(runs: int = 30) -> Figure:
    """The median over runs, for heads of a trained network."""
    decoder = Decoder(make_spec("ssd300_vgg16", [str(k) for k in range(90)], "coco"))
    detail = {}
    for name, (loc, logits) in CASES.items():
        times = []
        for _ in range(runs):
            began = perf_counter()
            found = decoder(loc, logits, (480, 640))
            times.append(1000 * (perf_counter() - began))
        candidates = int((_scores(logits) > 0.01).sum())
        detail[name] = {
            "median ms": median(times),
            "best ms": min(times),
            "candidates": candidates,
            "detections": len(found),
            "cut by top-k": found.num_cut,
        }
    value = float(detail["trained"]["median ms"])
    others = (f"{name} heads {detail[name]['median ms']:.1f}" for name in CASES if name != "trained")
    beside = f"heads of a trained network; {', '.join(others)}"
    return Figure("host-decode", value, "ms, median", "<= 4", value <= 4, detail, beside)


def _scores(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials[:, 1:] / exponentials.sum(axis=1, keepdims=True), np.float32)
