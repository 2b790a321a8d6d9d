"""Compare what two engines, or a recording and an engine, find in the same frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import iou
from ssd_edge.detections import Detections
from ssd_edge.evaluation.intervals import CONFIDENCE, Interval
from ssd_edge.replay.container import Section
from ssd_edge.tracking.assignment import assign

SAME_PLACE = 0.5
"""IoU from which on two boxes of one class count as the same object."""

BLOCK = 2.0
"""Seconds of frames that are drawn together for intervals, since frames in a row show the same objects."""

LEAST_BLOCKS = 8
"""Fewer blocks give no interval."""

_DRAWS = 2000


@dataclass(frozen=True, eq=False)
class Seen:
    """A recorded frame, and what each side finds in it.

    Attributes:
        section, offset: where its record lies.
        run: number of its run.
        index: see ``Frame``.
        time: seconds, for blocks and for people.
        first, second: detections that are shown.
    """

    section: Section
    offset: int
    run: int
    index: int
    time: float
    first: Detections
    second: Detections


class Unmatched(NamedTuple):
    """Which detections the other side does not have: (N,) and (M,) bool."""

    first: npt.NDArray[np.bool_]
    second: npt.NDArray[np.bool_]


def unmatched(first: Detections, second: Detections) -> Unmatched:
    """Pair detections of one class whose IoU is above ``SAME_PLACE``, as many and as close as possible."""
    alone = Unmatched(np.ones(len(first), bool), np.ones(len(second), bool))
    if len(first) and len(second):
        costs = 1 - iou(first.boxes[:, None], second.boxes[None]).astype(np.float64)
        costs[first.labels[:, None] != second.labels[None]] = np.inf
        rows, columns = assign(costs, 1 - SAME_PLACE)
        alone.first[rows], alone.second[columns] = False, False
    return alone


@dataclass(frozen=True)
class OfClass:
    """What both sides find of one class, or of all.

    Attributes:
        label: its name.
        both, first, second: number of detections of both, and of one side only.
        second_has: share of the first side's detections that the second has too, and its interval.
        first_has: the reverse.
    """

    label: str
    both: int
    first: int
    second: int
    second_has: float | None
    second_has_interval: Interval | None
    first_has: float | None
    first_has_interval: Interval | None


@dataclass(frozen=True)
class Differences:
    """What two sides find in the same frames.

    Attributes:
        frames: number of frames.
        different: number of frames in which one side has a detection that the other lacks.
        blocks: number of blocks of ``BLOCK`` seconds.
        overall: all classes together.
        classes: each class that any side finds.
        worst: the frames that differ most, at most one of each block, the worst first.
    """

    frames: int
    different: int
    blocks: int
    overall: OfClass
    classes: Sequence[OfClass]
    worst: Sequence[tuple[Seen, Unmatched]]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        plain = {name: value for name, value in vars(self).items() if name != "worst"}
        return {
            **plain,
            "overall": vars(self.overall),
            "classes": [vars(one) for one in self.classes],
            "worst": [
                {"file": seen.section.path.name, "index": seen.index, "time": seen.time} for seen, _ in self.worst
            ],
        }


def differences(frames: Sequence[Seen], labels: Sequence[str], most: int) -> Differences:
    """Compare the two sides.

    Args:
        frames: all frames, in order.
        labels: class names.
        most: number of worst frames.
    """
    counts: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
    worst: dict[tuple[int, int], tuple[float, Seen, Unmatched]] = {}
    different = 0
    for seen in frames:
        alone = unmatched(seen.first, seen.second)
        block = (seen.run, math.floor(seen.time / BLOCK))
        of_block = counts.setdefault(block, np.zeros((3, len(labels)), np.int64))
        for row, found in enumerate((seen.first.labels[~alone.first], *_labels(seen, alone))):
            of_block[row] += np.bincount(found, minlength=len(labels))
        weight = float(seen.first.scores[alone.first].sum() + seen.second.scores[alone.second].sum())
        different += weight > 0
        if weight > worst.get(block, (0.0,))[0]:
            worst[block] = weight, seen, alone
    by_block = np.stack(list(counts.values())) if counts else np.zeros((0, 3, len(labels)), np.int64)
    draws = _draws(len(by_block))
    shown = np.flatnonzero(by_block.sum(axis=(0, 1))).tolist()
    heaviest = sorted(worst.values(), key=lambda one: -one[0])[:most]
    return Differences(
        len(frames),
        different,
        len(by_block),
        _of_class("all classes", by_block.sum(axis=2), draws),
        [_of_class(labels[label], by_block[..., label], draws) for label in shown],
        [(seen, alone) for _, seen, alone in heaviest],
    )


def _labels(seen: Seen, alone: Unmatched) -> Iterator[npt.NDArray[np.int64]]:
    yield seen.first.labels[alone.first]
    yield seen.second.labels[alone.second]


def _draws(blocks: int) -> npt.NDArray[np.int64] | None:
    """Draw blocks with replacement: (draws, blocks) how often each is drawn; None for too few blocks."""
    if blocks < LEAST_BLOCKS:
        return None
    return np.random.default_rng(0).multinomial(blocks, np.full(blocks, 1 / blocks), _DRAWS)


def _of_class(label: str, by_block: npt.NDArray[np.int64], draws: npt.NDArray[np.int64] | None) -> OfClass:
    """Sum up (blocks, 3) counts of both, first only and second only."""
    both, first, second = by_block.sum(axis=0).tolist()
    shares: list[Any] = []
    for side in (1, 2):
        counted = by_block[:, [0, side]]
        total = int(counted.sum())
        shares.append(both / total if total else None)
        shares.append(_interval(counted, draws))
    return OfClass(label, both, first, second, *shares)


def _interval(counted: npt.NDArray[np.int64], draws: npt.NDArray[np.int64] | None) -> Interval | None:
    """Compute the interval of a share, from (blocks, 2) counts of what is and is not in it."""
    support = int((counted.sum(axis=1) > 0).sum())
    if draws is None or support < LEAST_BLOCKS:
        return None
    inside, outside = (draws @ counted).T
    total = inside + outside
    shares = inside[total > 0] / total[total > 0]
    low, high = np.quantile(shares, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    if low == high:
        # Nothing varies, as if no other block could: the bound of Clopper and Pearson for blocks without an event.
        unseen = 1 - ((1 - CONFIDENCE) / 2) ** (1 / support)
        return Interval(max(0.0, low - unseen), min(1.0, high + unseen))
    return Interval(low, high)
