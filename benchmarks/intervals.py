"""How often the 95 % intervals hold the truth, on objects of rendered scenes with simulated detections.

The truth is the AP over all images of a population; each repetition draws a few of them at random and computes the
interval as ``eval`` does. Two detectors, good and poor, each with a slightly worse copy for the paired change.

python benchmarks/intervals.py                  prints the table of docs/evaluation.md, in Markdown: some 10 minutes
python benchmarks/intervals.py --percentiles    the same for percentiles of the resamples, which hold it less often
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from figure import Figure

from ssd_edge.data.dataset import Target
from ssd_edge.data.synthetic import LABELS, Conveyor
from ssd_edge.detections import Detections
from ssd_edge.evaluation.curve import Floats
from ssd_edge.evaluation.intervals import Change, Interval, ap_interval
from ssd_edge.evaluation.matching import Matches
from ssd_edge.evaluation.resampling import OVERALL, ClassMatches, MatchedImages

RESAMPLES = 200  # a fifth of what eval draws, which saves minutes; errors of 5 % of the width hardly change coverage
POPULATION, REPETITIONS, NUMBERS = 2000, 150, (50, 100, 300)
SIZE, FROM_ONE_SCENE = (160, 120), 25
DETECTORS = {"poor": 1.0, "good": 3.5}
SHOWN = ("ap", "ap50", "voc_map50")
LOW, HIGH = 0.93, 0.97


@dataclass(frozen=True)
class Row:
    """Coverage at one number of images.

    Attributes:
        detector: name of the detector.
        number: number of images.
        of: name of the AP, or of its change.
        truth: its true value.
        bias: mean of the estimates, minus the truth.
        coverage: share of the repetitions whose interval holds the truth.
        percentile: the same for percentiles of the resamples.
    """

    detector: str
    number: int
    of: str
    truth: float
    bias: float
    coverage: float
    percentile: float


@lru_cache(maxsize=1)
def population(number: int = POPULATION) -> list[Target]:
    """Render scenes, and return the objects of pictures that lie so far apart on a belt that no part appears twice."""
    rng, targets = np.random.default_rng(0), list[Target]()
    view = math.ceil(2 * SIZE[0] / 120 * 30)
    while len(targets) < number:
        belt = Conveyor(int(rng.integers(2**62)), size=SIZE, speed=120.0, density=float(rng.uniform(3, 9)))
        targets += [belt.frame(view * shot)[1] for shot in range(FROM_ONE_SCENE)]
    return targets[:number]


def simulated(targets: list[Target], quality: float, noise: float = 0.0) -> list[Detections]:
    """Detect as a detector of some quality would: some objects are missed, boxes are off, and there are false ones.

    Args:
        targets: the objects of each image.
        quality: logit of the score of an easy object.
        noise: what a copy of the detector adds to scores and boxes.
    """
    rng, other = np.random.default_rng(1), np.random.default_rng(2)
    detections = []
    for target in targets:
        number, sizes = len(target), np.tile(target.boxes[:, 2:] - target.boxes[:, :2], 2)
        hard = rng.normal(0, 0.6)  # of the whole image, so that its objects stand or fall together
        logit = quality - 0.25 * target.labels - hard + rng.normal(0, 1, number)
        off = 0.05 * np.exp(-0.3 * (logit - 1))[:, None] * rng.normal(0, 1, (number, 4))
        boxes = target.boxes + sizes * (off + 0.03 * noise * other.normal(0, 1, (number, 4)))
        labels = np.where(rng.random(number) < 0.03, rng.integers(0, len(LABELS), number), target.labels)
        false = rng.poisson(max(0.2, 3 - quality) * math.exp(hard / 2))
        corners, extent = rng.random((false, 2)) * SIZE, rng.uniform(10, 40, (false, 2))
        false_logit = rng.normal(-1 - 0.3 * quality, 1, false)
        found = logit > -0.5
        all_logits = np.concatenate([logit[found], false_logit])
        scores = 1 / (1 + np.exp(-all_logits - noise * other.normal(0, 1, len(all_logits))))
        detections.append(
            Detections(
                np.concatenate([boxes[found], np.concatenate([corners, corners + extent], axis=1)]).astype(np.float32),
                scores.astype(np.float32),
                np.concatenate([labels[found], rng.integers(0, len(LABELS), false)]),
            )
        )
    return detections


def rows(numbers: tuple[int, ...] = NUMBERS, repetitions: int = REPETITIONS, images: int = POPULATION) -> list[Row]:
    """Measure the coverage of each detector at each number of images."""
    targets, table = population(images), []
    for name, quality in DETECTORS.items():
        pair = [MatchedImages.of(simulated(targets, quality, noise), targets, len(LABELS)) for noise in (0.0, 0.3)]
        truth = [one.aps(np.ones((1, images), np.float32))[0] for one in pair]
        for number in numbers:
            rng, found = np.random.default_rng(number), dict[str, list[tuple[Any, ...]]]()
            for _ in range(repetitions):
                chosen = np.sort(rng.integers(0, images, number))
                for of, *seen in _one(chosen, pair, truth):
                    found.setdefault(of, []).append(tuple(seen))
            for of, seen in found.items():
                value = truth[0][OVERALL.index(of)] if of in OVERALL else _changed(truth, of)
                estimate, held, percentile = np.array(seen, float).mean(axis=0).tolist()
                table.append(Row(name, number, of, float(value), estimate - float(value), held, percentile))
                print(table[-1], file=sys.stderr, flush=True)
    return table


def _changed(truth: list[Floats], of: str) -> float:
    column = OVERALL.index(of.removeprefix("change of "))
    return float(truth[1][column] - truth[0][column])


def _one(chosen: np.ndarray, pair: list[MatchedImages], truth: list[Floats]) -> Iterator[tuple[str, float, bool, bool]]:
    """Make one repetition: for each AP and change its name, the estimate, and whether each interval holds the truth."""
    first, second = (_sample(one, chosen) for one in pair)
    estimates = [one.aps(np.ones((1, len(chosen)), np.float32))[0] for one in (first, second)]
    resampled = [one.resample(RESAMPLES) for one in (first, second)]
    for of in SHOWN:
        k = OVERALL.index(of)
        support = int(first.support[k])
        interval = ap_interval(float(estimates[0][k]), resampled[0][:, k], float(first.bias[k]), support)
        value, percentiles = float(truth[0][k]), _percentiles(resampled[0][:, k])
        yield of, float(estimates[0][k]), _holds(interval, value), _holds(percentiles, value)
        difference, of_change = resampled[1][:, k] - resampled[0][:, k], f"change of {of}"
        change = Change.of(float(estimates[0][k]), float(estimates[1][k]), difference, support)
        true = _changed(truth, of_change)
        yield of_change, change.value, _holds(change.interval, true), _holds(_percentiles(difference), true)


def _holds(interval: Interval | None, value: float) -> bool:
    return interval is not None and interval.low <= value <= interval.high


def _percentiles(resampled: Floats) -> Interval:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Interval(float(low), float(high))


def _sample(whole: MatchedImages, chosen: np.ndarray) -> MatchedImages:
    """Take some images, in ascending order, with those that are chosen twice as two."""
    classes = (
        ClassMatches(_taken(one.coco, chosen), _taken(one.voc, chosen), tuple(_taken(m, chosen) for m in one.by_size))
        for one in whole.classes
    )
    return MatchedImages(tuple(range(len(chosen))), tuple(classes))


def _taken(matches: Matches, chosen: np.ndarray) -> Matches:
    counts = np.bincount(chosen, minlength=len(matches.objects))
    times, first = counts[matches.images], (np.cumsum(counts) - counts)[matches.images]
    detections = np.repeat(np.arange(len(times)), times)
    within = np.arange(len(detections)) - np.repeat(np.cumsum(times) - times, times)
    images = np.repeat(first, times) + within
    return Matches(images, matches.scores[detections], matches.verdicts[:, detections], matches.objects[chosen])


def measure() -> Figure:
    """Return the smallest coverage, with every row in the detail."""
    table = rows()
    worst = min(table, key=lambda row: row.coverage)
    outside = [row for row in table if not LOW <= row.coverage <= HIGH]
    return Figure(
        "intervals",
        100 * worst.coverage,
        "% of repetitions in which the 95 % interval holds the truth, at worst",
        f"{100 * LOW:.0f} to {100 * HIGH:.0f} in each row",
        not outside,
        {f"{row.detector}, {row.number} images, {row.of}": row.coverage for row in table},
        f"{len(table) - len(outside)} of {len(table)} rows within; worst: {worst.detector} detector, "
        f"{worst.number} images, {worst.of}; percentiles at worst {100 * min(row.percentile for row in table):.0f} %",
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--percentiles", action="store_true", help="show what percentiles of the resamples cover")
    percentiles = parser.parse_args().percentiles
    found = {(row.detector, row.number, row.of): row for row in rows()}
    names = [name for of in SHOWN for name in (of, f"change of {of}")]
    print(f"| detector | images | {' | '.join(names)} |\n|---|---:|{'---:|' * len(names)}")
    for detector in DETECTORS:
        for number in NUMBERS:
            held = (found[detector, number, name] for name in names)
            shares = (100 * (row.percentile if percentiles else row.coverage) for row in held)
            print(f"| {detector} | {number} | {' | '.join(f'{share:.1f} %' for share in shares)} |")


if __name__ == "__main__":
    main()
