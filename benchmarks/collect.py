"""What frames that ``run --collect`` brings home are worth: AP of a model retrained with 50 of them, and 50 others.

A line of bolts, nuts and washers gets a new kind of part, gears, now and then, and its light drifts from bright to dim.
A model that has seen neither runs on it: 50 frames are collected, and 50 are drawn at random from the same frames. Both
get the labels that a person would give them. The model is trained on with its old images and either 50, and measured on
other belts with all kinds of parts, as many gears as others, and all kinds of light. Each seed has other belts; the
interval is Student's, of the differences.

python benchmarks/collect.py                       ten seeds: half an hour on two free cores
python benchmarks/collect.py --one-in 6            the same where the new kind of part is less rare
python benchmarks/collect.py --seeds 1 --tiny      a few minutes, to see that it works: its AP means nothing
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from building import BACKBONE, built
from figure import Figure, real_data

from ssd_edge.data.dataset import Dataset, Image, Sample, Target
from ssd_edge.data.parts import LABELS
from ssd_edge.data.synthetic import Conveyor
from ssd_edge.data.voc_xml import read_root
from ssd_edge.engines.opening import open_model
from ssd_edge.evaluation import detect_all, evaluate
from ssd_edge.evaluation.intervals import student_quantile
from ssd_edge.outputs.collect.collector import Collect
from ssd_edge.outputs.collect.folder import LABELS as ANNOTATIONS
from ssd_edge.outputs.collect.folder import PICTURES
from ssd_edge.outputs.collect.settings import CollectSettings, lowest_score
from ssd_edge.stream.frames import Frame
from ssd_edge.training.recipe import Optimiser, Recipe
from ssd_edge.training.run import TrainingRun
from ssd_edge.training.train import train

FPS, THRESHOLD = 5.0, 0.5
NEW = LABELS.index("gear")
DAY = 600.0
"""Seconds in which the light goes once from bright to dim and back."""


@dataclass(frozen=True)
class Size:
    """How much is rendered and trained.

    Attributes:
        old, tested: images of the old line to learn from, and of the new one to measure on.
        stream: frames that the model runs on.
        one_in: one of so many stretches of the belt has parts of the new kind.
        collected: frames that are collected, and drawn.
        epochs, more: passes of the first training, and of the others.
    """

    old: int = 100
    tested: int = 160
    stream: int = 6000
    one_in: int = 10
    collected: int = 50
    epochs: int = 14
    more: int = 6


TINY = Size(old=48, tested=40, stream=240, collected=12, epochs=3, more=2)


class Old(NamedTuple):
    """Images of the line as it was: to learn from, and for the validation that every training ends with."""

    learnt: list[Sample]
    validated: list[Sample]


class Line(Conveyor):
    """A belt on which the new kind of part is on one of so many stretches only; 0 for a line before it came."""

    def __init__(self, seed: int, one_in: int) -> None:
        super().__init__(seed, fps=FPS)
        self._one_in = one_in

    def _draw_segment(self, k: int) -> list[Any]:
        wanted = self._one_in and np.random.default_rng((self.seed, k % 2**32, 7)).integers(self._one_in) == 0
        return [part for part in super()._draw_segment(k) if wanted or part.label != NEW]


def lit(image: Image, seconds: float) -> Image:
    """Change a frame's light as it is so many seconds into the day: from all of it to a quarter, and warmer."""
    dim = 0.5 - 0.5 * math.cos(2 * math.pi * seconds / DAY)
    gains = (1 - 0.75 * dim) * np.array([1 - 0.2 * dim, 1.0, 1 + 0.1 * dim])
    return np.asarray(np.clip(image * gains, 0, 255), np.uint8)


def written(folder: Path, name: str, image: Image, target: Target) -> Sample:
    """Write an image as a collection does; return it with its true labels."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    return Sample(folder / f"{name}.jpg", target)


def shots(folder: Path, one_in: int, count: int, seed: int, drifting: bool) -> list[Sample]:
    """Render images far apart, of another belt every few of them."""
    rng, samples = np.random.default_rng((seed, drifting)), []
    for number in range(count):
        if number % 4 == 0:
            line = Line(int(rng.integers(2**40)), one_in)
        image, target = line.frame(int(rng.integers(5000)))
        image = lit(image, float(rng.uniform(0, DAY))) if drifting else image
        samples.append(written(folder, f"{number:04d}", image, target))
    return samples


def as_dataset(folder: Path, samples: Sequence[Sample]) -> Dataset:
    """Make a data set of all classes, also those without an object."""
    return Dataset(folder, "synthetic", "", LABELS, tuple(samples))


def trained(folder: Path, old: Old, more: Sequence[Sample], epochs: int, seed: int, **start: Path) -> Path:
    """Train, and return the checkpoint; validated at the end only, so that no epoch is chosen by old images."""
    recipe = Recipe(epochs=epochs, optimiser=Optimiser(lr=0.03), frozen_blocks=7, validate_every=epochs, seed=seed)
    learnt, validated = as_dataset(folder, [*old.learnt, *more]), as_dataset(folder, old.validated)
    train(TrainingRun(learnt, validated, folder, recipe, show_bar=False), **start)
    return folder / "model.pt"


def collected(model: Path, line: Line, folder: Path, size: Size) -> list[int]:
    """Run an engine on a line's frames, and return the indices of those that were collected, in order."""
    now = 0.0
    settings = CollectSettings(frames=size.collected, share=1.0)  # here, no camera waits for its next frame
    with open_model(model) as engine, Collect(folder, LABELS, settings, clock=lambda: now) as sink:
        detect = engine.detector(lowest_score([THRESHOLD]))
        for index in range(size.stream):
            now = index / FPS
            image = lit(line.frame(index)[0], now)
            sink.write(Frame(image, index, now, now), detect(image))
    found = (read_root(file).findtext("collected/frame") for file in sorted((folder / ANNOTATIONS).iterdir()))
    return [int(text or 0) for text in found]


def one_seed(seed: int, model: Path, old: Old, size: Size, root: Path) -> dict[str, Any]:
    """Collect, retrain twice and measure on one seed's belts."""
    scratch = root / str(seed)
    line = Line(1000 + seed, size.one_in)
    chosen = collected(model.with_suffix(".engine"), line, scratch / "hard", size)
    drawn = np.random.default_rng(seed).choice(size.stream, len(chosen), replace=False).tolist()
    tested = shots(scratch / "test", 1, size.tested, 5000 + seed, drifting=True)
    result: dict[str, Any] = {"seed": seed, "frames": len(chosen)}
    for name, indices in (("collected", chosen), ("random", drawn)):
        samples = []
        for index in indices:
            image, target = line.frame(index)
            samples.append(written(scratch / name / PICTURES, str(index), lit(image, index / FPS), target))
        result[f"gears {name}"] = int(sum((sample.target.labels == NEW).sum() for sample in samples))
        again = trained(scratch / name / "run", old, samples, size.more, seed, start_from=model)
        result[name] = average_precision(again, tested)
    result = {"before": average_precision(model, tested), **result}
    print(result, file=sys.stderr, flush=True)
    return result


def average_precision(model: Path, samples: Sequence[Sample]) -> float:
    """Measure COCO's AP."""
    with open_model(model) as engine:
        detections, targets = detect_all(engine.detector(), samples)
    return float(evaluate(detections, targets, LABELS).ap or 0.0)


def measure(seeds: int = 10, size: Size = Size()) -> Figure:
    """Compare on some seeds' belts."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        old = Old(
            shots(root / "old" / PICTURES, 0, size.old, 1, drifting=False),
            shots(root / "validated", 0, 8, 2, drifting=False),
        )
        model = trained(root / "old" / "run", old, [], size.epochs, 0, backbone_weights=real_data(BACKBONE))
        built(model)
        with ProcessPoolExecutor(
            min(seeds, os.cpu_count() or 1), get_context("spawn"), torch.set_num_threads, (1,)
        ) as pool:
            runs = list(pool.map(partial(one_seed, model=model, old=old, size=size, root=root), range(seeds)))
    gains = np.array([run["collected"] - run["random"] for run in runs])
    mean = float(gains.mean())
    margin = student_quantile(seeds - 1) * float(gains.std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else 1.0
    low, high = mean - margin, mean + margin  # of one seed, nothing is known
    words = f"{100 * mean:+.2f} points of AP, 95 % interval {100 * low:+.2f} … {100 * high:+.2f}, {seeds} seeds"
    return Figure(
        "collect",
        mean,
        "AP of a model retrained with collected frames, less that with as many random ones",
        "> 0 with its interval, over ten seeds",
        low > 0 and seeds >= 10,
        {"interval": [low, high], "size": asdict(size), "runs": runs},
        words,
    )


def main() -> None:
    """Print the figure as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--one-in", type=int, default=Size.one_in, help="stretches for each one with new parts")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    size = replace(TINY if arguments.tiny else Size(), one_in=arguments.one_in)
    print(json.dumps(asdict(measure(arguments.seeds, size))))


if __name__ == "__main__":
    main()
