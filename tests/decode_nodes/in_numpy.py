"""The three decode kernels in NumPy, as operators of a graph, with the kernels' outputs to the last bit.

They are for comparison, and for running a graph with decode nodes on a machine without a GPU. ``ssd_edge/decode.py`` is
the reference for detections; these use its arithmetic, and also give the buffers between the kernels (``launch.py``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge import arithmetic, boxes
from ssd_edge.decode import nms

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


def decode(
    loc: npt.NDArray[Any],
    logits: npt.NDArray[Any],
    defaults: Floats,
    *,
    is_yxhw: int,
    is_sigmoid: int,
    is_clipped: int,
    score_threshold: float,
    centre_variance: float,
    size_variance: float,
) -> tuple[Floats, Floats]:
    """Decode the boxes and scores of all default boxes.

    Args:
        loc: (B, A, 4) float32 or float16.
        logits: (B, A, C) of the same type; class 0 is background.
        defaults: (A, 4) float32 cxcywh in fractions of the image.
        is_yxhw: 1 if ``loc`` has y before x.
        is_sigmoid: 1 if scores are a sigmoid; otherwise they are a softmax.
        is_clipped: 1 if boxes are clipped to the image.
        score_threshold: candidates score above this.
        centre_variance: variance of the centres' regression values.
        size_variance: variance of the sizes' regression values.

    Returns:
        ``all_boxes`` (B, A, 4) xyxy and ``all_scores`` (B, C−1, A), 0 where there is no candidate.
    """
    batch, number, classes = logits.shape
    values = np.asarray(loc, np.float32)
    sound = np.asarray(np.isfinite(values).all(axis=2))
    if is_yxhw:
        values = values[..., [1, 0, 3, 2]]
    with np.errstate(invalid="ignore", over="ignore"):  # from boxes that are no candidates
        decoded = np.stack([boxes.decode(image, defaults, (centre_variance, size_variance)) for image in values])
        decoded = boxes.clip(decoded) if is_clipped else decoded
        flat = np.asarray(logits, np.float32).reshape(-1, classes)
        score = arithmetic.sigmoid(flat[:, 1:]) if is_sigmoid else arithmetic.softmax(flat)[:, 1:]
        score = score.reshape(batch, number, classes - 1)
        score = np.where((score > np.float32(score_threshold)) & sound[..., None], score, np.float32(0))
    return decoded, np.ascontiguousarray(score.transpose(0, 2, 1))


def select(all_boxes: Floats, all_scores: Floats, *, top_k: int, nms_iou: float) -> tuple[Floats, Floats, Ints]:
    """Select the best candidates of each class, and suppress duplicates.

    Args:
        all_boxes: (B, A, 4) from ``decode``.
        all_scores: (B, L, A) from ``decode``.
        top_k: number of candidates of a class that enter suppression, K.
        nms_iou: a box that overlaps a better one of its class by more than this is dropped.

    Returns:
        ``kept_boxes`` (B, L, K, 4), ``kept_scores`` (B, L, K), 0 where nothing was kept, and ``cut`` (B, L) int32, the
        number of candidates that top-k cut.
    """
    batch, labels, _ = all_scores.shape
    kept_boxes = np.zeros((batch, labels, top_k, 4), np.float32)
    kept_scores = np.zeros((batch, labels, top_k), np.float32)
    cut = np.zeros((batch, labels), np.int32)
    for image in range(batch):
        label, index = np.nonzero(all_scores[image] > 0)
        score = all_scores[image, label, index]
        order = np.lexsort((index, -score, label))
        label, index, score = label[order], index[order], score[order]
        cut[image] = np.maximum(np.bincount(label, minlength=labels) - top_k, 0)
        rank = np.arange(len(label)) - np.searchsorted(label, label)
        best = rank < top_k
        label, index, score, rank = label[best], index[best], score[best], rank[best]
        box = all_boxes[image, index]
        keep = nms(box, label, nms_iou)
        kept_boxes[image, label[keep], rank[keep]] = box[keep]
        kept_scores[image, label[keep], rank[keep]] = score[keep]
    return kept_boxes, kept_scores, cut


def merge(
    kept_boxes: Floats, kept_scores: Floats, cut: Ints, *, max_detections: int
) -> tuple[Ints, Floats, Floats, Ints, Ints]:
    """Merge the best detections of all classes of an image.

    Args:
        kept_boxes: (B, L, K, 4) from ``select``.
        kept_scores: (B, L, K) from ``select``.
        cut: (B, L) int32 from ``select``.
        max_detections: M.

    Returns:
        ``num_detections`` (B,) int32, ``boxes`` (B, M, 4), ``scores`` (B, M), ``classes`` (B, M) int32 and ``num_cut``
        (B,) int32. Beyond the detections: 0, class −1.
    """
    batch, _, top_k = kept_scores.shape
    number = np.zeros(batch, np.int32)
    box = np.zeros((batch, max_detections, 4), np.float32)
    score = np.zeros((batch, max_detections), np.float32)
    label = np.full((batch, max_detections), -1, np.int32)
    for image in range(batch):
        scores = kept_scores[image].ravel()
        best = np.argsort(-scores, kind="stable")[: min(max_detections, int(np.count_nonzero(scores > 0)))]
        number[image] = len(best)
        box[image, : len(best)] = kept_boxes[image].reshape(-1, 4)[best]
        score[image, : len(best)] = scores[best]
        label[image, : len(best)] = best // top_k
    return number, box, score, label, cut.sum(axis=1, dtype=np.int32)
