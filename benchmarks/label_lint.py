"""How many planted label errors ``check-data --model`` finds: on rendered parts, and on BCCD's photos of blood cells.

Five of a hundred labels are made wrong, a third of them each: left out, of another class, or a box moved by a quarter
to two fifths of its sides or grown by as much. A model is trained on these very labels, and its list is compared with
what was planted; "unseen" are BCCD's test images, which the sample model did not learn. BCCD has errors of its own,
which stand high in the list and count as false here.

python benchmarks/label_lint.py rendered                    three minutes
python benchmarks/label_lint.py unseen                      one minute
python benchmarks/label_lint.py bccd                        twenty minutes
python benchmarks/label_lint.py bccd --models build/lint    keep the trained model there, and use it if it is there
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from building import BACKBONE
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
SEED = 21
"""What is planted where; the order of the list was chosen with other seeds."""
PLANTINGS = 5
"""Number of times that errors are planted where one model serves them all: each time others."""
KINDS = ("missing box", "other class", "loose box")


@dataclass(frozen=True, eq=False)
class Planted:
    """One wrong label: its image, its kind, and the box by which the list has to name it."""

    image: Path
    kind: str
    box: npt.NDArray[np.float32]


def measure() -> Figure:
    """Plant, train, list and count on each data set."""
    detail = {name: count(None) for name, count in SETS.items()}
    least = min(one["found"] for one in detail.values())
    words = "; ".join(
        f"{name}: {one['found']:.2f} ({', '.join(f'{k} {v}' for k, v in one['by kind'].items())})"
        for name, one in detail.items()
    )
    return Figure(
        "label-lint", least, "of planted label errors in the first tenth", ">= 0.80", least >= 0.8, detail, words
    )


def rendered(models: Path | None = None) -> dict[str, Any]:
    """Count on rendered parts, whose labels are else right: three minutes."""
    with tempfile.TemporaryDirectory() as scratch:
        parts = write_dataset(Path(scratch) / "parts", images=300, seed=5)
        recipe = Recipe(epochs=12, optimiser=Optimiser(lr=0.03), frozen_blocks=7, validate_every=12)
        with _kept(models, f"rendered-{SEED}") as folder:
            return _trained(parts, folder, recipe, backbone_weights=real_data(BACKBONE))


def unseen(_: Path | None = None) -> dict[str, Any]:
    """Count on BCCD's test images, with the sample model: one minute."""
    test = check_dataset(open_dataset(real_data("data/bccd"), "test")).clean
    return _counts(SAMPLE_CHECKPOINT, [plant(test, seed) for seed in range(SEED, SEED + PLANTINGS)])


def bccd(models: Path | None = None) -> dict[str, Any]:
    """Count on BCCD's training images: twenty minutes."""
    with _kept(models, f"bccd-{SEED}") as folder:
        recipe = Recipe(epochs=40, validate_every=40)
        return _trained(real_data("data/bccd"), folder, recipe, backbone_weights=real_data(BACKBONE))


SETS: dict[str, Callable[[Path | None], dict[str, Any]]] = {"rendered": rendered, "unseen": unseen, "bccd": bccd}


@contextmanager
def _kept(models: Path | None, name: str) -> Iterator[Path]:
    """Give the folder to train in, which is removed unless it lies in ``models``."""
    if models is not None:
        yield models / name
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


def _trained(data: Path, folder: Path, recipe: Recipe, **start: Any) -> dict[str, Any]:
    """Plant, train on the planted labels unless a model is there, and count."""
    planted_set, planted = plant(check_dataset(open_dataset(data, "train")).clean, SEED)
    checkpoint = folder / "model.pt"
    kept = checkpoint.is_file()
    if not kept:
        train(TrainingRun(planted_set, open_dataset(data, "val"), folder, recipe, show_bar=False), **start)
    return {**_counts(checkpoint, [(planted_set, planted)]), "model": "from an earlier run" if kept else "trained now"}


def _counts(checkpoint: Path, plantings: Sequence[tuple[Dataset, list[Planted]]]) -> dict[str, Any]:
    with open_model(checkpoint) as engine:
        detections, _ = detect_all(engine.detector(), plantings[0][0])
    planted_of, found_of, listed_of = Counter[str](), Counter[str](), Counter[str]()
    for planted_set, planted in plantings:
        images, targets = zip(*((sample.image, sample.target) for sample in planted_set), strict=True)
        listed = doubts(images, detections, targets, planted_set.labels)
        first = listed[: round(FIRST * len(listed))]
        planted_of.update(one.kind for one in planted)
        found_of.update(_found(planted, first))
        listed_of.update({"labels": sum(map(len, targets)), "list": len(listed), "first": len(first)})
        listed_of.update(f"{one.kind} in the first" for one in first)
    return {
        "found": found_of.total() / planted_of.total(),
        "by kind": {kind: f"{found_of[kind]} of {planted_of[kind]}" for kind in KINDS},
        "plantings": len(plantings),
        **{name: count / len(plantings) for name, count in listed_of.items()},
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


def main() -> None:
    """Print the counts on one data set as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETS)
    parser.add_argument("--models", type=Path, help="folder to keep the trained model in, and to take it from")
    arguments = parser.parse_args()
    print(json.dumps(SETS[arguments.data](arguments.models)))


if __name__ == "__main__":
    main()
