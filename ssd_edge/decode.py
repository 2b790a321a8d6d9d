"""Heads → Detections on the CPU: the only host decode, and the reference for the kernels.

The order is that of the published models: scores, threshold, best ``top_k`` of each class, NMS in each class, best
``max_detections`` of the image. Equal scores are ordered by class, then by box index, so that a result never
depends on the machine.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ssd_edge import boxes
from ssd_edge.candidates import candidates, unpacked
from ssd_edge.detections import Detections
from ssd_edge.spec import ModelSpec

Floats = npt.NDArray[np.float32]

# Multiples of the detections wanted: up to the second, all candidates are looked at; of more, so many at first.
_FIRST_LOOK, _ALL_AT_ONCE = 2, 4
# Boxes compared with all others at once in NMS: few enough for the cache.
_ROWS = 64


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
        found = candidates(loc, logits, spec)
        number = int(found.counts.sum())
        taken = spec.max_detections * (_FIRST_LOOK if number > _ALL_AT_ONCE * spec.max_detections else _ALL_AT_ONCE)
        while True:
            index, label, score = unpacked(found.best(taken))
            box = self._boxes(loc, index)
            kept = _nms_per_class(box, label, spec)[: spec.max_detections]
            # Whether a box stays depends on better ones alone: once enough stay, no other can come before them.
            if len(kept) == spec.max_detections or taken >= number:
                break
            taken *= 4
        num_cut = int(np.maximum(found.counts - spec.top_k, 0).sum())
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
    values = _corners_and_areas(box)
    keep = np.zeros(len(box), bool)
    left = np.arange(len(box))  # neither kept nor dropped so far
    while len(left):
        rows = left[:_ROWS]
        others = left[: np.searchsorted(label[left], label[rows[-1]], side="right")]  # the rows come first
        covers = _covers(values.take(rows, axis=1), values.take(others, axis=1), np.float32(threshold))
        if label[rows[0]] != label[rows[-1]]:
            covers &= label[rows, None] == label[others]
        np.fill_diagonal(covers, False)
        bits, width = np.packbits(covers, axis=1, bitorder="little").tobytes(), -(-len(others) // 8)
        dropped = 0  # bit k: others[k]
        for row in np.flatnonzero(covers.any(axis=1)).tolist():
            if not dropped >> row & 1:
                dropped |= int.from_bytes(bits[row * width : (row + 1) * width], "little")
        stays = np.unpackbits(np.frombuffer(dropped.to_bytes(width, "little"), np.uint8), bitorder="little") == 0
        keep[rows[stays[: len(rows)]]] = True
        left = np.concatenate([others[len(rows) :][stays[len(rows) : len(others)]], left[len(others) :]])
    return keep


def _corners_and_areas(box: Floats) -> Floats:
    """(N, 4) xyxy → (5, N): x2, y2, −x1, −y1 and the area. A minimum of two boxes' is a corner of what they share."""
    x1, y1, x2, y2 = box.T
    return np.stack([x2, y2, -x1, -y1, boxes.areas(box)])


def _covers(one: Floats, other: Floats, threshold: np.float32) -> npt.NDArray[np.bool_]:
    """(R, N) whether the IoU of R boxes with N others is above the threshold; each as of ``_corners_and_areas``."""
    inner = np.minimum(one[:4, :, None], other[:4, None])
    side = np.add(inner[:2], inner[2:], out=inner[:2])
    # One side that is not negative is enough: a negative product is above no union.
    width = np.maximum(side[0], np.zeros_like(side[0]), out=side[0])
    with np.errstate(invalid="ignore"):  # boxes of infinite size cover nothing
        shared = np.multiply(width, side[1], out=inner[2])
        union = np.add(one[4, :, None], other[4], out=inner[3])
        union -= shared
        union *= threshold
        # No division: exact where boxes have no area, and what the kernel computes.
        return np.asarray(shared > union)
