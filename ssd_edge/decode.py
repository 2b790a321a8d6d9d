"""Heads → Detections on the CPU: the only host decode, and the reference for the kernels.

The order is that of the published models: scores, threshold, best ``top_k`` of each class, NMS in each class, best
``max_detections`` of the image. Equal scores are ordered by class, then by box index, so that a result never
depends on the machine.
"""

from __future__ import annotations

import math
from dataclasses import replace

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
        key, num_cut = sort_keys(*candidates(logits, np.asarray(np.isfinite(loc).all(axis=1)), spec), spec)
        taken = _FIRST_LOOK * spec.max_detections
        while True:
            index, label, score = unpacked(best_first(key, taken))
            box = self._boxes(loc, index)
            kept = _nms_per_class(box, label, spec)[: spec.max_detections]
            # Whether a box stays depends on better ones alone: once enough stay, no other can come before them.
            if len(kept) == spec.max_detections or taken >= len(key):
                break
            taken *= 4
        return Detections(to_pixels(box[kept], frame_size), score[kept], label[kept], num_cut)

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


def candidates(
    logits: Floats, sound: npt.NDArray[np.bool_], spec: ModelSpec
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Box indices, labels and scores of all (box, class) pairs whose score is above the threshold.

    A softmax score is at most the sigmoid of (class logit − background logit), and a sigmoid score grows with its
    logit; so a comparison of logits drops nearly all boxes before any exponential, and none that would count.
    A NaN score counts for nothing.

    Args:
        logits: (A, C).
        sound: (A,) which boxes have finite regression values.
        spec: gives score function and threshold.
    """
    threshold = np.float32(spec.score_threshold)
    # A little below the true bound: its own rounding must not drop a candidate.
    bound = np.float32(math.log(spec.score_threshold / (1 - spec.score_threshold)) - 1e-3)
    foreground = logits[:, 1:]
    with np.errstate(invalid="ignore", over="ignore"):
        softmax = spec.score_function == "softmax"
        hopeful = (foreground - logits[:, :1] if softmax else foreground) > bound
        rows = np.flatnonzero(hopeful.any(axis=1) & sound)
        scores = arithmetic.softmax(logits[rows])[:, 1:] if softmax else arithmetic.sigmoid(foreground[rows])
        flat = np.flatnonzero(scores > threshold)
    row = flat // foreground.shape[1]
    return rows[row], flat - row * foreground.shape[1], scores.ravel()[flat]


def sort_keys(
    index: npt.NDArray[np.int64], label: npt.NDArray[np.int64], score: Floats, spec: ModelSpec
) -> tuple[npt.NDArray[np.uint64], int]:
    """One 64-bit key a candidate, ascending = best score, then class, then box index; and how many top-k will cut.

    The bits of a positive float32 are ordered as it is.
    """
    descending = np.uint64(0xFFFFFFFF) - score.view(np.uint32).astype(np.uint64)
    key = (descending << np.uint64(32)) + (label.astype(np.uint64) << np.uint64(_INDEX_BITS)) + index.astype(np.uint64)
    counts = np.bincount(label, minlength=1)
    return key, int(np.maximum(counts - spec.top_k, 0).sum())


def best_first(key: npt.NDArray[np.uint64], number: int) -> npt.NDArray[np.uint64]:
    """The ``number`` smallest keys in order."""
    if number < len(key):
        key = np.partition(key, number)[:number]
    return np.sort(key)


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
    area = boxes.areas(box)
    sides = np.ascontiguousarray(box.T)
    found: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    start = 0
    while start < number:
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        counts = followers[start:stop]
        better = np.repeat(np.arange(start, stop), counts)
        worse = np.arange(len(better)) - np.repeat(ends[start:stop] - counts - done, counts) + better + 1
        width = np.minimum(sides[2][better], sides[2][worse]) - np.maximum(sides[0][better], sides[0][worse])
        height = np.minimum(sides[3][better], sides[3][worse]) - np.maximum(sides[1][better], sides[1][worse])
        shared = np.maximum(width, np.float32(0)) * np.maximum(height, np.float32(0))
        # No division: exact where boxes have no area, and what the kernel computes.
        covered = shared > threshold * (area[better] + area[worse] - shared)
        found.append((better[covered], worse[covered]))
        start = stop
    if not found:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing
    return np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found])
