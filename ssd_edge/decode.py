"""Decode heads to Detections on the CPU: the only host decode, and the reference for the kernels.

The order of steps is that of the published models: scores, threshold, best ``top_k`` of each class, NMS in each class,
best ``max_detections`` of the image. Boxes are clipped to the image at the end or, as torchvision does, before NMS.
Equal scores are ordered by class, then by box index, so that a result never depends on the machine.
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

# Multiples of max_detections: up to _ALL_AT_ONCE of them, all candidates enter NMS; of more candidates, only the best
# _FIRST_LOOK multiples at first.
_FIRST_LOOK, _ALL_AT_ONCE = 2, 4
# Boxes that NMS compares with all others in one step: few enough for the cache.
_ROWS = 64


def for_reader(spec: ModelSpec, min_score: float) -> ModelSpec:
    """Raise a spec's score threshold for a caller that reads only scores of at least ``min_score``.

    The caller's detections stay the same: NMS starts from the best box, so a lower score never removes a higher one,
    and both top-k and ``max_detections`` keep the best. Only the number of candidates cut by top-k changes: it counts
    only those that the caller would have read.
    """
    # Decode keeps only scores above its threshold, but min_score itself must be kept.
    below = float(np.nextafter(np.float32(min(min_score, 1.0)), np.float32(0)))
    return spec if below <= spec.score_threshold else replace(spec, score_threshold=below)


class Decoder:
    """Decoder of one model's heads; it keeps the default boxes, so that they are not computed for each frame."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.defaults = boxes.default_boxes(spec)

    def __call__(self, loc: Floats, logits: Floats, frame_size: tuple[int, int]) -> Detections:
        """Decode the detections of one image.

        Args:
            loc: (A, 4) float32, the regression head in the spec's box order.
            logits: (A, C) float32, the class head; class 0 is background.
            frame_size: (height, width) of the frame in pixels.

        Returns:
            Boxes in pixels of the frame, clipped to it, best score first. Boxes whose regression values are not finite
            are left out.

        Raises:
            ValueError: the shape of a head does not fit the spec.
        """
        spec = self.spec
        if loc.shape != (len(self.defaults), 4) or logits.shape != (len(self.defaults), spec.num_classes):
            raise ValueError(
                f"heads must be ({len(self.defaults)}, 4) and ({len(self.defaults)}, {spec.num_classes}), "
                f"but got {loc.shape} and {logits.shape}"
            )
        pairs = candidates(loc, logits, spec)
        number = int(pairs.counts.sum())
        taken = spec.max_detections * (_FIRST_LOOK if number > _ALL_AT_ONCE * spec.max_detections else _ALL_AT_ONCE)
        while True:
            index, label, score = unpacked(pairs.best(taken))
            box = self._boxes(loc, index)
            kept = _nms_per_class(box, label, spec)[: spec.max_detections]
            # Whether a box is kept depends only on better boxes: once enough are kept, no other can precede them.
            if len(kept) == spec.max_detections or taken >= number:
                break
            taken *= 4
        num_cut = int(np.maximum(pairs.counts - spec.top_k, 0).sum())
        return Detections(to_pixels(box[kept], frame_size), score[kept], label[kept], num_cut)

    def _boxes(self, loc: Floats, index: npt.NDArray[np.int64]) -> Floats:
        """Decode the chosen default boxes only: (N, 4) xyxy in fractions of the image."""
        chosen = loc[index]
        if self.spec.box_order == "yxhw":
            chosen = chosen[:, [1, 0, 3, 2]]
        decoded = boxes.decode(chosen, self.defaults[index], self.spec.variances)
        return boxes.clip(decoded) if self.spec.clip_boxes == "before-nms" else decoded


def to_pixels(box: Floats, frame_size: tuple[int, int]) -> Floats:
    """Convert (N, 4) xyxy from fractions of the image to pixels of a frame of (height, width), clipped to it."""
    height, width = frame_size
    return boxes.clip(box) * np.asarray([width, height, width, height], np.float32)


def _nms_per_class(box: Floats, label: npt.NDArray[np.int64], spec: ModelSpec) -> npt.NDArray[np.int64]:
    """Take the top-k of each class, then NMS, and return the kept indices in ascending order; input is best first."""
    by_class = np.argsort(label, kind="stable")
    ordered = label[by_class]
    rank = np.arange(len(label)) - np.searchsorted(ordered, ordered)
    by_class = by_class[rank < spec.top_k]
    return np.sort(by_class[nms(box[by_class], label[by_class], spec.nms_iou)])


def nms(box: Floats, label: npt.NDArray[np.int64], threshold: float) -> npt.NDArray[np.bool_]:
    """Apply greedy non-maximum suppression in each class.

    In each class, from its best box downwards, a box is dropped if its IoU with a kept one is above ``threshold``.

    Args:
        box: (N, 4) float32 xyxy, ordered by class, best score first in each.
        label: (N,) int64, ascending.
        threshold: highest IoU that two kept boxes may have.

    Returns:
        (N,) bool: which boxes are kept.
    """
    if len(box) < 2:
        return np.ones(len(box), bool)
    values = _corners_and_areas(box)
    keep = np.zeros(len(box), bool)
    left = np.arange(len(box))  # not yet decided
    while len(left):
        rows = left[:_ROWS]
        others = left[: np.searchsorted(label[left], label[rows[-1]], side="right")]  # begins with rows
        covers = _covers(values.take(rows, axis=1), values.take(others, axis=1), np.float32(threshold))
        if label[rows[0]] != label[rows[-1]]:
            covers &= label[rows, None] == label[others]
        np.fill_diagonal(covers, False)
        bits, width = np.packbits(covers, axis=1, bitorder="little").tobytes(), -(-len(others) // 8)
        dropped = 0  # bit k stands for others[k]
        for row in np.flatnonzero(covers.any(axis=1)).tolist():
            if not dropped >> row & 1:
                dropped |= int.from_bytes(bits[row * width : (row + 1) * width], "little")
        stays = np.unpackbits(np.frombuffer(dropped.to_bytes(width, "little"), np.uint8), bitorder="little") == 0
        keep[rows[stays[: len(rows)]]] = True
        left = np.concatenate([others[len(rows) :][stays[len(rows) : len(others)]], left[len(others) :]])
    return keep


def _corners_and_areas(box: Floats) -> Floats:
    """Convert (N, 4) xyxy to (5, N): x2, y2, −x1, −y1 and the area.

    The minimum of the first four of two boxes gives the corners of their intersection.
    """
    x1, y1, x2, y2 = box.T
    return np.stack([x2, y2, -x1, -y1, boxes.areas(box)])


def _covers(one: Floats, other: Floats, threshold: np.float32) -> npt.NDArray[np.bool_]:
    """Compute (R, N) whether the IoU of R boxes with N others is above the threshold.

    Both arguments have the form that ``_corners_and_areas`` returns.
    """
    inner = np.minimum(one[:4, :, None], other[:4, None])
    side = np.add(inner[:2], inner[2:], out=inner[:2])
    # Clamping one side at 0 is enough: a negative product is never above the union.
    width = np.maximum(side[0], np.zeros_like(side[0]), out=side[0])
    with np.errstate(invalid="ignore"):  # boxes of infinite size suppress nothing
        shared = np.multiply(width, side[1], out=inner[2])
        union = np.add(one[4, :, None], other[4], out=inner[3])
        union -= shared
        union *= threshold
        # Multiplying instead of dividing is exact for boxes with no area, and matches the kernel.
        return np.asarray(shared > union)
