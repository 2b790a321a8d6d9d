"""Heads → Detections on the CPU: the only host decode, and the reference for the kernels.

The order is that of the published models: scores, threshold, best ``top_k`` of each class, NMS in each class, best
``max_detections`` of the image. Equal scores are ordered by class, then by box index, so that a result never
depends on the machine.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ssd_edge import boxes
from ssd_edge.detections import Detections
from ssd_edge.spec import MAX_DEFAULT_BOXES, ModelSpec

Floats = npt.NDArray[np.float32]

_INDEX_BITS = MAX_DEFAULT_BOXES.bit_length() - 1
# Pairs of boxes compared at once in NMS: bounds its memory to some tens of MB.
_PAIRS_AT_ONCE = 1 << 19


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
        index, label, score = candidates(logits, spec)
        sound = np.isfinite(loc[index]).all(axis=1)
        index, label, score = index[sound], label[sound], score[sound]
        index, label, score, num_cut = best_per_class(index, label, score, spec.top_k)
        box = self._boxes(loc, index)
        keep = nms(box, label, spec.nms_iou)
        best = np.flatnonzero(keep)
        best = best[np.argsort(-score[best], kind="stable")][: spec.max_detections]
        height, width = frame_size
        scale = np.asarray([width, height, width, height], np.float32)
        pixels = np.clip(box[best], np.float32(0), np.float32(1)) * scale
        return Detections(pixels, score[best], label[best], num_cut)

    def _boxes(self, loc: Floats, index: npt.NDArray[np.int64]) -> Floats:
        """(N, 4) xyxy in fractions of the image, of the chosen default boxes only."""
        chosen = loc[index]
        if self.spec.box_order == "yxhw":
            chosen = chosen[:, [1, 0, 3, 2]]
        return boxes.decode(chosen, self.defaults[index], self.spec.variances)


def candidates(logits: Floats, spec: ModelSpec) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Box indices, labels and scores of all (box, class) pairs whose score is above the threshold.

    A softmax score is at most the sigmoid of (class logit − background logit), and a sigmoid score grows with its
    logit; so a comparison of logits drops nearly all boxes before any exponential, and none that would count.
    A NaN score counts for nothing.
    """
    threshold = np.float32(spec.score_threshold)
    # A little below the true bound: its own rounding must not drop a candidate.
    bound = np.float32(math.log(spec.score_threshold / (1 - spec.score_threshold)) - 1e-3)
    foreground = logits[:, 1:]
    with np.errstate(invalid="ignore", over="ignore"):
        highest = foreground.max(axis=1) if foreground.shape[1] > 1 else foreground[:, 0]
        if spec.score_function == "softmax":
            rows = np.flatnonzero(~(highest - logits[:, 0] <= bound))
            exponentials = np.exp(logits[rows] - logits[rows].max(axis=1, keepdims=True))
            scores = exponentials[:, 1:] / exponentials.sum(axis=1, keepdims=True)
        else:
            rows = np.flatnonzero(~(highest <= bound))
            scores = np.float32(1) / (np.float32(1) + np.exp(-foreground[rows]))
        row, label = np.nonzero(scores > threshold)
    return rows[row], label.astype(np.int64), scores[row, label]


def best_per_class(
    index: npt.NDArray[np.int64], label: npt.NDArray[np.int64], score: Floats, top_k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, int]:
    """The best ``top_k`` of each class, ordered by class, then score (best first), then box index; and how many were cut.

    The three sort keys fit one 64-bit number, since the bits of a positive float32 are ordered as it is.
    """
    descending = np.uint64(0xFFFFFFFF) - score.view(np.uint32).astype(np.uint64)
    key = (label.astype(np.uint64) << np.uint64(32 + _INDEX_BITS)) | (descending << np.uint64(_INDEX_BITS))
    key |= index.astype(np.uint64)
    key.sort()
    index = (key & np.uint64(MAX_DEFAULT_BOXES - 1)).astype(np.int64)
    label = (key >> np.uint64(32 + _INDEX_BITS)).astype(np.int64)
    descending = (key >> np.uint64(_INDEX_BITS)) & np.uint64(0xFFFFFFFF)
    score = (np.uint64(0xFFFFFFFF) - descending).astype(np.uint32).view(np.float32)
    first = np.searchsorted(label, label)
    keep = np.arange(len(label)) - first < top_k
    return index[keep], label[keep], score[keep], int(len(keep) - keep.sum())


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
