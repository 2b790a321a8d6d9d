"""How well tracks follow objects: IDF1 (Ristani et al. 2016, section 3) and MOTA (Bernardin and Stiefelhagen 2008)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tracking_scene import Boxes

from ssd_edge.boxes import iou
from ssd_edge.tracking.assignment import assign

LEAST_IOU = 0.5


@dataclass(frozen=True)
class Identity:
    """Counts over a sequence, which add up over several.

    Attributes:
        objects: boxes of objects.
        tracked: boxes of tracks.
        kept: boxes of objects that the one track has which stands for the object: IDTP.
        found: boxes of objects that any track has, frame by frame.
        switches: times that an object's track was another than before.
    """

    objects: int = 0
    tracked: int = 0
    kept: int = 0
    found: int = 0
    switches: int = 0

    def __add__(self, other: Identity) -> Identity:
        return Identity(
            *(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    @property
    def idf1(self) -> float:
        """2 · IDTP / (objects + tracked); 1 if there is nothing."""
        both = self.objects + self.tracked
        return 2 * self.kept / both if both else 1.0

    @property
    def mota(self) -> float:
        """1 − (missed + false + switches) / objects."""
        missed, false = self.objects - self.found, self.tracked - self.found
        return 1 - (missed + false + self.switches) / max(1, self.objects)


def compare(truth: Sequence[Boxes], tracks: Sequence[Boxes]) -> Identity:
    """Compare tracks with objects, frame by frame; labels do not matter."""
    together: Counter[tuple[int, int]] = Counter()
    last: dict[int, int] = {}
    current: dict[int, int] = {}
    found = switches = 0
    for objects, found_ones in zip(truth, tracks, strict=True):
        overlaps = iou(objects.boxes[:, None], found_ones.boxes[None]).astype(np.float64)
        for row, column in np.argwhere(overlaps >= LEAST_IOU):
            together[int(objects.names[row]), int(found_ones.names[column])] += 1
        # A pair of the last frame stays if it still can: it costs 1000 less.
        held = np.array([[current.get(name) == track for track in found_ones.names.tolist()] for name in objects.names])
        costs = np.where(overlaps >= LEAST_IOU, 1 - overlaps - 1000 * held.reshape(overlaps.shape), np.inf)
        rows, columns = assign(costs, 1.0)
        current = dict(zip(objects.names[rows].tolist(), found_ones.names[columns].tolist(), strict=True))
        switches += sum(last.get(name, track) != track for name, track in current.items())
        last |= current
        found += len(rows)
    return Identity(
        sum(len(one.names) for one in truth), sum(len(one.names) for one in tracks), _kept(together), found, switches
    )


def _kept(together: Counter[tuple[int, int]]) -> int:
    """Give each object one track at most, and each track one object, so that most boxes are kept."""
    names, ids = ({key[side] for key in together} for side in (0, 1))
    row, column = ({name: index for index, name in enumerate(sorted(every))} for every in (names, ids))
    costs = np.zeros((len(row), len(column)))
    for (name, number), frames in together.items():
        costs[row[name], column[number]] = -frames
    return -round(float(costs[assign(costs, 0.0)].sum()))
