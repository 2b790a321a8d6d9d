"""How many planted label errors ``check-data --model`` finds: on rendered parts, and on BCCD's photos of blood cells.

Five of a hundred labels are made wrong, a third of them each: left out, of another class, or a box moved by a quarter
to two fifths of its sides or grown by as much. A model is trained on these very labels, and its list is compared with
what was planted. BCCD has errors of its own, which stand high in the list and count as false here.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from figure import Figure, real_data

from ssd_edge.boxes import iou
from ssd_edge.data.check import check_dataset
from ssd_edge.data.dataset import Dataset, Sample, Target
from ssd_edge.data.readers import open_dataset
from ssd_edge.data.synthetic_dataset import write_dataset
from ssd_edge.engines.opening import open_model
from ssd_edge.evaluation import detect_all
from ssd_edge.failures.labels import Doubt, doubts
from ssd_edge.samples import SAMPLE_CHECKPOINT
from ssd_edge.training.recipe import Optimiser, Recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train

SHARE, FIRST = 0.05, 0.1
KINDS = ("missing box", "other class", "loose box")


@dataclass(frozen=True, eq=False)
class Planted:
    """One wrong label: its image, its kind, and the box by which the list has to name it."""

    image: Path
    kind: str
    box: npt.NDArray[np.float32]


def measure() -> Figure:
    """Plant, train, list and count on both data sets."""
    detail = {"rendered": rendered(), "bccd": bccd()}
    least = min(one["found"] for one in detail.values())
    words = "; ".join(
        f"{name}: {one['found']:.2f} ({', '.join(f'{k} {v}' for k, v in one['by kind'].items())})"
        for name, one in detail.items()
    )
    return Figure(
        "label-lint", least, "of planted label errors in the first tenth", ">= 0.80", least >= 0.8, detail, words
    )


def rendered() -> dict[str, Any]:
    """Count on rendered parts, whose labels are else right: three minutes."""
    with tempfile.TemporaryDirectory() as scratch:
        parts = write_dataset(Path(scratch) / "parts", images=300, seed=5)
        recipe = Recipe(epochs=12, optimiser=Optimiser(lr=0.03), frozen_blocks=7, validate_every=12)
        return _of(parts, Path(scratch) / "run", recipe, start_from=SAMPLE_CHECKPOINT)


def bccd() -> dict[str, Any]:
    """Count on BCCD's training images: twenty minutes."""
    weights = real_data("weights/mobilenet_v2_imagenet/mobilenet_v2-b0353104.pth")
    with tempfile.TemporaryDirectory() as scratch:
        recipe = Recipe(epochs=40, validate_every=40)
        return _of(real_data("data/bccd"), Path(scratch), recipe, backbone_weights=weights)


def _of(data: Path, folder: Path, recipe: Recipe, **start: Any) -> dict[str, Any]:
    clean, validation = check_dataset(open_dataset(data, "train")).clean, open_dataset(data, "val")
    planted_set, planted = plant(clean, seed=11)
    trained = train(TrainingRun(planted_set, validation, folder, recipe, show_bar=False), **start)
    with open_model(trained.checkpoint) as engine:
        detections, targets = detect_all(engine.detector(), planted_set)
    images = [sample.image for sample in planted_set]
    listed = doubts(images, detections, targets, planted_set.labels)
    first = listed[: round(FIRST * len(listed))]
    planted_of, found_of = Counter(one.kind for one in planted), Counter(_found(planted, first))
    return {
        "found": sum(found_of.values()) / len(planted),
        "by kind": {kind: f"{found_of[kind]} of {planted_of[kind]}" for kind in KINDS},
        "labels": sum(len(target) for target in targets),
        "list": len(listed),
        "first": len(first),
        "kinds in the first": dict(Counter(one.kind for one in first)),
        "validation AP50": trained.ap50,
        "seconds of training": round(trained.seconds),
    }


def plant(dataset: Dataset, seed: int) -> tuple[Dataset, list[Planted]]:
    """Make a share of the labels wrong."""
    rng = np.random.default_rng(seed)
    samples, planted = [], []
    for sample in dataset:
        target, wrong = _planted(sample, len(dataset.labels), rng)
        samples.append(Sample(sample.image, target))
        planted += wrong
    return replace(dataset, samples=tuple(samples)), planted


def _planted(sample: Sample, num_labels: int, rng: np.random.Generator) -> tuple[Target, list[Planted]]:
    target = sample.target
    boxes, labels, keep = target.boxes.copy(), target.labels.copy(), np.ones(len(target), bool)
    planted = []
    for k in np.flatnonzero(rng.random(len(target)) < SHARE):
        kind = str(rng.choice(KINDS))
        if kind == "missing box":
            keep[k] = False
        elif kind == "other class":
            labels[k] = (labels[k] + rng.integers(1, num_labels)) % num_labels
        else:
            sides = np.tile(boxes[k, 2:] - boxes[k, :2], 2)
            grown = np.array([-1, -1, 1, 1]) * rng.uniform(0.25, 0.4)
            moved = np.tile(rng.choice([-1, 1], 2) * rng.uniform(0.25, 0.4, 2), 2)
            boxes[k] += (sides * (grown if rng.random() < 0.5 else moved)).astype(np.float32)
        planted.append(Planted(sample.image, kind, boxes[k].copy()))
    return replace(target, boxes=boxes, labels=labels).where(keep), planted


def _found(planted: Sequence[Planted], listed: Sequence[Doubt]) -> list[str]:
    """Kinds of the planted errors that the list names: a box left out by any box on it, else the very label."""
    found = []
    for one in planted:
        least = 0.5 if one.kind == "missing box" else 0.999
        own = [doubt for doubt in listed if doubt.image == one.image]
        if any(float(iou(np.asarray(doubt.box, np.float32), one.box)) >= least for doubt in own):
            found.append(one.kind)
    return found


if __name__ == "__main__":
    print(json.dumps({"rendered": rendered, "bccd": bccd}[sys.argv[1]]()))
