"""Heads → Detections on the CPU: the only host decode, and the reference for the kernels.

The order is that of the published models: scores, threshold, best ``top_k`` of each class, NMS in each class, best
``max_detections`` of the image. Equal scores are ordered by class, then by box index, so that a result never
depends on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ssd_edge import arithmetic, boxes
from ssd_edge.detections import Detections
from ssd_edge.spec import MAX_CLASSES, MAX_DEFAULT_BOXES, ModelSpec

Floats = npt.NDArray[np.float32]

# Candidates looked at first, as a multiple of the detections wanted: nearly always enough.
_FIRST_LOOK = 4
_INDEX_BITS = MAX_DEFAULT_BOXES.bit_length() - 1
# Pairs of boxes compared at once in NMS: bounds its memory to some tens of MB.
_PAIRS_AT_ONCE = 1 << 19


def for_reader(spec: ModelSpec, min_score: float) -> ModelSpec:
    """A spec whose decode gives a reader of scores of at least ``min_score`` what it reads, and nothing below.

    NMS goes down from the best box, so a lower score never removes a higher one, and both top-k and the limit of
    detections keep the best: what is below the reader's score changes nothing above it. Only the number of candidates
    that top-k cuts is another: of those that the reader would have seen.
    """
    below = float(np.nextafter(np.float32(min(min_score, 1.0)), np.float32(0)))  # decode takes scores above it
    return spec if below <= spec.score_threshold else replace(spec, score_threshold=below)


class Decoder:
    """Decodes one model's heads; holds the default boxes so that a frame does not pay for them."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.defaults = boxes.default_boxes(spec)

    def __call__(self, loc: Floats, logits: Floats, frame_size: tuple[int, int]) -> Detections:
        """Detections of one image.

        Args:
            loc: (A, 4) float32, the regression head in the spec's box order.
            logits: (A, C) float32, the class head; class 0 is background.
            frame_size: (height, width) of the frame in pixels.

        Returns:
            Boxes in pixels of the frame, cut at its edges, best score first. A box whose regression values are
            not finite is no candidate.

        Raises:
            ValueError: a head is not of the spec's shape.
        """
        spec = self.spec
        if loc.shape != (len(self.defaults), 4) or logits.shape != (len(self.defaults), spec.num_classes):
            raise ValueError(
                f"heads must be ({len(self.defaults)}, 4) and ({len(self.defaults)}, {spec.num_classes}), "
                f"but got {loc.shape} and {logits.shape}"
            )
        screened = _SCREENS[spec.score_function](logits, np.asarray(np.isfinite(loc).all(axis=1)), spec)
        taken = _FIRST_LOOK * spec.max_detections
        while True:
            index, label, score = screened.best(taken)
            box = self._boxes(loc, index)
            kept = _nms_per_class(box, label, spec)[: spec.max_detections]
            # Whether a box stays depends on better ones alone: once enough stay, no other can come before them.
            if len(kept) == spec.max_detections or taken >= screened.number:
                break
            taken *= 4
        return Detections(to_pixels(box[kept], frame_size), score[kept], label[kept], screened.number_cut(spec.top_k))

    def _boxes(self, loc: Floats, index: npt.NDArray[np.int64]) -> Floats:
        """(N, 4) xyxy in fractions of the image, of the chosen default boxes only."""
        chosen = loc[index]
        if self.spec.box_order == "yxhw":
            chosen = chosen[:, [1, 0, 3, 2]]
        return boxes.decode(chosen, self.defaults[index], self.spec.variances)


def to_pixels(box: Floats, frame_size: tuple[int, int]) -> Floats:
    """(N, 4) xyxy in fractions of the image → in pixels of a frame of (height, width), cut at its edges."""
    height, width = frame_size
    return np.clip(box, np.float32(0), np.float32(1)) * np.asarray([width, height, width, height], np.float32)


@dataclass(frozen=True)
class _Screened:
    """R boxes that may have candidates, and which of their C classes, background among them, are.

    Exact scores cost a dozen passes over all of them; a cheap level of each tells which are worth it.

    Attributes:
        rows: (R,) indices of the boxes.
        level: (R, C) float32, positive.
        total: (R,) float32: a score is nearly the level divided by it, off by a share of ``_MARGIN`` at most.
        candidate: (R, C) bool, exact: whether the score is above the threshold. Never of background.
        scores: exact scores (N,) of pairs, by row and class.
    """

    rows: npt.NDArray[np.int64]
    level: Floats
    total: Floats
    candidate: npt.NDArray[np.bool_]
    scores: Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], Floats]

    @property
    def number(self) -> int:
        """Of candidates."""
        return int(np.count_nonzero(self.candidate))

    def number_cut(self, top_k: int) -> int:
        """Candidates beyond the best ``top_k`` of their class."""
        if self.number <= top_k:
            return 0
        return int(np.maximum(np.count_nonzero(self.candidate, axis=0) - top_k, 0).sum())

    def best(self, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
        """Box indices, labels and scores of the ``number`` best candidates, best first."""
        row, column = np.divmod(np.flatnonzero(self._from(number)), self.level.shape[1])
        if number < len(row):
            near = self.level[row, column] / self.total[row]
            chosen = near >= _a_little_below(np.partition(near, -number)[-number])
            row, column = row[chosen], column[chosen]
        return unpacked(np.sort(sort_keys(self.rows[row], column - 1, self.scores(row, column)))[:number])

    def _from(self, number: int) -> npt.NDArray[np.bool_]:
        """(R, C) candidates, the ``number`` best among them; of very many, most others are left out."""
        if self.number <= _MANY * number:
            return self.candidate
        # Pairs play against pairs, and winners against winners: ``number`` winners reach a level, so the best do.
        near = self.level / self.total[:, None]
        winners = np.where(np.isfinite(near), near, np.float32(0)).ravel()
        while len(winners) > 4 * number:
            half = len(winners) // 2
            winners = np.maximum(winners[:half], winners[half : 2 * half])
        least = _a_little_below(np.partition(winners, -number)[-number])
        return np.asarray(self.candidate & ~(near < least))  # what is NaN may be any


_MARGIN = 1e-4
"""Share by which a cheap score may be off: exponentials and sums of any library are right to 1e-5 and better."""

_MANY = 32
"""Candidates for each one that is wanted, from which on a tournament is cheaper than to list them all."""


def _a_little_below(score: np.float32) -> np.float32:
    """A bound for cheap scores that no pair misses whose exact score reaches that of another."""
    return np.float32(score * np.float32(1 - 2 * _MARGIN))


def _softmax_screen(logits: Floats, sound: npt.NDArray[np.bool_], spec: ModelSpec) -> _Screened:
    """Level: the exponential of what a logit is above background's, by whatever exp NumPy has here.

    A score is at most the sigmoid of that difference: so a comparison of logits drops most boxes of a trained network
    before any exponential, and none that would count.
    """
    threshold = np.float32(spec.score_threshold)
    with np.errstate(invalid="ignore", over="ignore"):
        above = logits - logits[:, :1]
        rows = np.flatnonzero((above[:, 1:] > _logit(spec)).any(axis=1) & sound)
        level, of_rows = above[rows], logits[rows]
        np.exp(level, out=level)
        total = np.einsum("ij->i", level)
        bound = (threshold * total)[:, None]
        candidate = level > bound * np.float32(1 - _MARGIN)
        doubtful = candidate != (level > bound * np.float32(1 + _MARGIN))
    # Where the level does not tell, or is infinite or NaN, the exact score does; a row with NaN or +inf has none.
    unsure = ~np.isfinite(total)
    unsure[np.flatnonzero(doubtful) // level.shape[1]] = True
    candidate[unsure] = arithmetic.softmax(of_rows[unsure]) > threshold
    candidate[:, 0] = False

    def scores(row: npt.NDArray[np.int64], column: npt.NDArray[np.int64]) -> Floats:
        needed, where = np.unique(row, return_inverse=True)
        return np.asarray(arithmetic.softmax(of_rows[needed])[where, column], np.float32)

    return _Screened(rows, level, total, candidate, scores)


def _sigmoid_screen(logits: Floats, sound: npt.NDArray[np.bool_], spec: ModelSpec) -> _Screened:
    """Level: the score itself, with which the logit grows, of boxes that may have a candidate."""
    with np.errstate(invalid="ignore"):
        rows = np.flatnonzero((logits[:, 1:] > _logit(spec)).any(axis=1) & sound)
        level = arithmetic.sigmoid(logits[rows])
        candidate = level > np.float32(spec.score_threshold)
    candidate[:, 0] = False
    total = np.ones(len(rows), np.float32)
    return _Screened(rows, level, total, candidate, lambda row, column: level[row, column])


_SCREENS = {"softmax": _softmax_screen, "sigmoid": _sigmoid_screen}


def _logit(spec: ModelSpec) -> np.float32:
    """Of the threshold, and a little lower: its own rounding must not drop a candidate."""
    return np.float32(math.log(spec.score_threshold / (1 - spec.score_threshold)) - 1e-3)


def sort_keys(index: npt.NDArray[np.int64], label: npt.NDArray[np.int64], score: Floats) -> npt.NDArray[np.uint64]:
    """One 64-bit key a candidate, ascending = best score, then class, then box index.

    The bits of a positive float32 are ordered as it is.
    """
    descending = np.uint64(0xFFFFFFFF) - score.view(np.uint32).astype(np.uint64)
    return (descending << np.uint64(32)) + (label.astype(np.uint64) << np.uint64(_INDEX_BITS)) + index.astype(np.uint64)


def unpacked(key: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Box indices, labels and scores of keys."""
    index = (key & np.uint64(MAX_DEFAULT_BOXES - 1)).astype(np.int64)
    label = ((key >> np.uint64(_INDEX_BITS)) & np.uint64(MAX_CLASSES - 1)).astype(np.int64)
    score = (np.uint64(0xFFFFFFFF) - (key >> np.uint64(32))).astype(np.uint32).view(np.float32)
    return index, label, score


def _nms_per_class(box: Floats, label: npt.NDArray[np.int64], spec: ModelSpec) -> npt.NDArray[np.int64]:
    """Indices of the boxes that stay, ascending, of boxes that come best first: top-k of each class, then NMS."""
    by_class = np.argsort(label, kind="stable")
    ordered = label[by_class]
    rank = np.arange(len(label)) - np.searchsorted(ordered, ordered)
    by_class = by_class[rank < spec.top_k]
    return np.sort(by_class[nms(box[by_class], label[by_class], spec.nms_iou)])


def nms(box: Floats, label: npt.NDArray[np.int64], threshold: float) -> npt.NDArray[np.bool_]:
    """Greedy non-maximum suppression in each class.

    Going down a class from its best box, a box is dropped if its IoU with a kept one is above ``threshold``.

    Args:
        box: (N, 4) float32 xyxy, ordered by class, best score first in each.
        label: (N,) int64, ascending.
        threshold: IoU.

    Returns:
        (N,) bool: which boxes stay.
    """
    better, worse = _overlapping_pairs(box, label, np.float32(threshold))
    keep = np.ones(len(box), bool)
    undecided = np.zeros(len(box), bool)
    undecided[worse] = True
    # A box falls once a kept one covers it, and is kept once all that cover it have fallen. Each round settles at
    # least the best undecided box of each class, so this ends, and with what the greedy walk gives.
    while len(better):
        falls = keep[better] & ~undecided[better]
        keep[worse[falls]] = False
        undecided[worse[falls]] = False
        open_pairs = undecided[worse] & keep[better]
        better, worse = better[open_pairs], worse[open_pairs]
        undecided[:] = False
        undecided[worse] = True
    return keep


def _overlapping_pairs(
    box: Floats, label: npt.NDArray[np.int64], threshold: np.float32
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Indices (better, worse) of all pairs of one class whose IoU is above the threshold."""
    number = len(box)
    last = np.searchsorted(label, label, side="right")
    followers = last - np.arange(number) - 1
    ends = np.cumsum(followers)
    corners_and_area = np.concatenate([box, boxes.areas(box)[:, None]], axis=1)
    sides = np.ascontiguousarray(corners_and_area.T)
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    start = 0
    while start < number:
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        counts = followers[start:stop]
        better = np.repeat(np.arange(start, stop), counts)
        worse = np.arange(len(better)) - np.repeat(ends[start:stop] - counts - done, counts) + better + 1
        # Those that are better follow each other, and need no look-up; of the others a row is fetched at once.
        x1, y1, x2, y2, area = (np.repeat(side[start:stop], counts) for side in sides)
        of_worse = corners_and_area.take(worse, axis=0).T
        width = np.minimum(x2, of_worse[2], out=x2)
        width -= np.maximum(x1, of_worse[0], out=x1)
        height = np.minimum(y2, of_worse[3], out=y2)
        height -= np.maximum(y1, of_worse[1], out=y1)
        shared = np.maximum(width, np.float32(0), out=width)
        shared *= np.maximum(height, np.float32(0), out=height)
        union = np.add(area, of_worse[4], out=area)
        union -= shared
        union *= threshold
        # No division: exact where boxes have no area, and what the kernel computes.
        covered = np.flatnonzero(shared > union)
        found.append((better[covered], worse[covered]))
        start = stop
    if not found:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing
    return np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found])
