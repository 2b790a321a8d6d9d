"""How often the 95 % intervals hold the truth, on objects of rendered scenes with simulated detections.

The truth is the AP over all images of a population; each repetition draws a few of them at random and computes the
interval as ``eval`` does. Two detectors, good and poor, each with a slightly worse copy for the paired change.

python benchmarks/intervals.py                  prints the table of docs/evaluation.md, in Markdown: over 15 minutes
python benchmarks/intervals.py --percentiles    the same for percentiles of images drawn with replacement
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from figure import Figure

from ssd_edge.data.dataset import Target
from ssd_edge.data.synthetic import LABELS, Conveyor
from ssd_edge.detections import Detections
from ssd_edge.evaluation.curve import Floats
from ssd_edge.evaluation.intervals import Change, Interval, ap_interval
from ssd_edge.evaluation.matching import SIZES, Matches
from ssd_edge.evaluation.resampling import OVERALL, ClassMatches, MatchedImages

HALVES = 200  # a fifth of what eval draws, which saves minutes; errors of 5 % of the width hardly change coverage
POPULATION, REPETITIONS, NUMBERS = 2000, 1000, (50, 100, 300)
PART = 50  # repetitions that a process makes at once, each part from a seed of its own
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
    """

    detector: str
    number: int
    of: str
    truth: float
    bias: float
    coverage: float


@cache
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


@cache
def _pair(name: str, images: int) -> tuple[list[MatchedImages], list[Floats]]:
    """Return a detector and its copy on the population, and the APs of both there."""
    targets = population(images)
    pair = [MatchedImages.of(simulated(targets, DETECTORS[name], by), targets, len(LABELS)) for by in (0.0, 0.3)]
    return pair, [one.aps(np.ones((1, images), np.float32))[0] for one in pair]


def rows(
    numbers: tuple[int, ...] = NUMBERS,
    repetitions: int = REPETITIONS,
    images: int = POPULATION,
    percentiles: bool = False,
    processes: int | None = None,
) -> list[Row]:
    """Measure the coverage of each detector at each number of images.

    Args:
        numbers: numbers of images.
        repetitions: number of repetitions of each.
        images: number of images of the population.
        percentiles: of images drawn with replacement, in place of the intervals that ``eval`` gives.
        processes: number of processes; None for one a core.
    """
    cells = [(name, number) for name in DETECTORS for number in numbers]
    tasks = [(*cell, first) for cell in cells for first in range(0, repetitions, PART)]
    make = partial(_part, images, repetitions, percentiles)
    population(images)  # before the processes start, which then have it
    with ProcessPoolExecutor(processes or os.cpu_count()) as pool:
        seen: dict[tuple[str, int], list[Seen]] = {cell: [] for cell in cells}
        for (name, number, _), some in zip(tasks, pool.map(make, tasks), strict=True):
            seen[name, number] += some
    table = []
    for (name, number), all_seen in seen.items():
        _, truth = _pair(name, images)
        for of in _names():
            value = _true(truth, of)
            estimate, held = np.array([one[of] for one in all_seen], float).mean(axis=0).tolist()
            table.append(Row(name, number, of, value, estimate - value, held))
            print(table[-1], file=sys.stderr, flush=True)
    return table


Seen = dict[str, tuple[float, bool]]
"""By name of each AP and change: the estimate, and whether the interval holds the truth."""


def _names() -> list[str]:
    return [name for of in SHOWN for name in (of, f"change of {of}")]


def _true(truth: list[Floats], of: str) -> float:
    column = OVERALL.index(of.removeprefix("change of "))
    return float(truth[0][column] if of in OVERALL else truth[1][column] - truth[0][column])


def _part(images: int, repetitions: int, percentiles: bool, task: tuple[str, int, int]) -> list[Seen]:
    name, number, first = task
    pair, truth = _pair(name, images)
    rng = np.random.default_rng([number, first])
    draws = [np.sort(rng.integers(0, images, number)) for _ in range(min(PART, repetitions - first))]
    return [dict(_one(chosen, pair, truth, percentiles)) for chosen in draws]


def _one(
    chosen: np.ndarray, pair: list[MatchedImages], truth: list[Floats], percentiles: bool
) -> Iterator[tuple[str, tuple[float, bool]]]:
    """Make one repetition, see ``Seen``."""
    first, second = (_sample(one, chosen) for one in pair)
    before, after = (one.aps(np.ones((1, len(chosen)), np.float32))[0] for one in (first, second))
    drawn = [_with_replacement(one) if percentiles else one.of_halves(HALVES) for one in (first, second)]
    for of in SHOWN:
        k = OVERALL.index(of)
        of_first, differences, support = drawn[0][:, k], drawn[1][:, k] - drawn[0][:, k], int(first.support[k])
        value, change = float(before[k]), Change.of(float(before[k]), float(after[k]), differences, support)
        interval = _percentiles(of_first) if percentiles else ap_interval(value, of_first, support)
        yield of, (value, _holds(interval, _true(truth, of)))
        of_change = f"change of {of}"
        interval = _percentiles(differences) if percentiles else change.interval
        yield of_change, (change.value, _holds(interval, _true(truth, of_change)))


def _with_replacement(matched: MatchedImages) -> Floats:
    number = len(matched.scenes)
    drawn = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), HALVES)
    return matched.aps(drawn.astype(np.float32))


def _holds(interval: Interval | None, value: float) -> bool:
    return interval is not None and interval.low <= value <= interval.high


def _percentiles(resampled: Floats) -> Interval:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Interval(float(low), float(high))


def _sample(whole: MatchedImages, chosen: np.ndarray) -> MatchedImages:
    """Take some images, in ascending order, with those that are chosen twice as two; sizes are left out."""
    none = Matches(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((10, 0), np.int8), np.zeros(len(chosen)))
    classes = (
        ClassMatches(_taken(one.coco, chosen), _taken(one.voc, chosen), (none,) * len(SIZES)) for one in whole.classes
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
        f"{len(table) - len(outside)} of {len(table)} rows within, {REPETITIONS} repetitions each; worst: "
        f"{worst.detector} detector, {worst.number} images, {worst.of}",
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--percentiles", action="store_true", help="of images drawn with replacement")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="of each detector and number of images")
    given = parser.parse_args()
    table = rows(repetitions=given.repetitions, percentiles=given.percentiles)
    found = {(row.detector, row.number, row.of): row for row in table}
    names = _names()
    print(f"| detector | images | {' | '.join(names)} |\n|---|---:|{'---:|' * len(names)}")
    for detector in DETECTORS:
        for number in NUMBERS:
            shares = (100 * found[detector, number, name].coverage for name in names)
            print(f"| {detector} | {number} | {' | '.join(f'{share:.1f} %' for share in shares)} |")


if __name__ == "__main__":
    main()
