"""Default boxes and box arithmetic in NumPy: the reference for every kernel.

Boxes have two forms: ``xyxy`` = x1, y1, x2, y2 and ``cxcywh`` = centre x, centre y, width, height. Default boxes are
cxcywh in fractions of the image. All arrays are float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ssd_edge import arithmetic
from ssd_edge.spec import DefaultBoxLevel

if TYPE_CHECKING:
    from ssd_edge.spec import ModelSpec

Boxes = npt.NDArray[np.float32]

MATCH_IOU = 0.5
"""Lowest IoU at which a default box is matched to an object (paper, section 2.2), apart from the object's best one."""

# Minimum sizes of the published models in pixels; the last one serves only for the extra square box of the last level.
# Source: github.com/weiliu89/caffe, branch ssd, examples/ssd/ssd_{pascal,coco,pascal_512}.py.
SSD300_VOC_SIZES = (30.0, 60.0, 111.0, 162.0, 213.0, 264.0, 315.0)
SSD300_COCO_SIZES = (21.0, 45.0, 99.0, 153.0, 207.0, 261.0, 315.0)
SSD512_VOC_SIZES = (35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6)
SSD512_COCO_SIZES = (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72)


def linear_scales(num_levels: int, smallest: float = 0.2, largest: float = 0.9) -> tuple[float, ...]:
    """Compute the scales s_k = s_min + (s_max − s_min)/(m − 1)·(k − 1), k = 1 … m (paper, equation 4)."""
    if num_levels == 1:
        return (smallest,)
    return tuple(smallest + (largest - smallest) * k / (num_levels - 1) for k in range(num_levels))


def cell_sizes(scale: float, next_scale: float, ratios: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Compute (width, height) of one cell's boxes: square, extra square √(s_k·s_{k+1}), then each ratio a and 1/a.

    w = s·√a and h = s/√a (paper, section 2.2); the order is that of the published models.
    """
    extra = math.sqrt(scale * next_scale)
    sizes = [(scale, scale), (extra, extra)]
    for ratio in ratios:
        root = math.sqrt(ratio)
        sizes += [(scale * root, scale / root), (scale / root, scale * root)]
    return tuple(sizes)


def published_levels(
    input_size: int,
    grids: Sequence[int],
    steps: Sequence[int],
    sizes: Sequence[float],
    ratios: Sequence[Sequence[float]],
) -> tuple[DefaultBoxLevel, ...]:
    """Make levels from a published table of pixel sizes (one more than there are levels) and pixel steps."""
    scales = [size / input_size for size in sizes]
    return tuple(
        DefaultBoxLevel(
            (grid, grid),
            (step / input_size, step / input_size),
            cell_sizes(scales[k], scales[k + 1], ratios[k]),
        )
        for k, (grid, step) in enumerate(zip(grids, steps, strict=True))
    )


def levels_at(
    levels: Sequence[DefaultBoxLevel], published: tuple[int, int], input_size: tuple[int, int], strides: Sequence[int]
) -> tuple[DefaultBoxLevel, ...]:
    """Make the default boxes of a network for another input: cells follow its feature maps, boxes keep their shape.

    A box keeps its aspect ratio in pixels and its size relative to the input's shorter side, so that a square stays a
    square, and steps are 1/rows and 1/columns. So does TensorFlow's Object Detection API (github.com/tensorflow/models,
    research/object_detection/anchor_generators/multiple_grid_anchor_generator.py); the paper has square inputs only.

    Args:
        levels: default boxes at the published input.
        published: (height, width) of that input, in pixels.
        input_size: (height, width) of the other one, in pixels.
        strides: pixels between neighbouring cells of each feature map; a map has ⌈side / stride⌉ cells along a side.
    """
    shorter, height, width = min(input_size), *input_size
    across = published[1] / min(published) * (shorter / width)
    down = published[0] / min(published) * (shorter / height)
    made = []
    for level, stride in zip(levels, strides, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        sizes = tuple((w * across, h * down) for w, h in level.sizes)
        made.append(DefaultBoxLevel((rows, columns), (1 / rows, 1 / columns), sizes))
    return tuple(made)


def no_larger_than_the_image(levels: Sequence[DefaultBoxLevel]) -> tuple[DefaultBoxLevel, ...]:
    """Cut widths and heights above 1 to 1; centres stay, as in torchvision's ``DefaultBoxGenerator`` with ``clip``."""
    return tuple(
        replace(level, sizes=tuple((min(width, 1.0), min(height, 1.0)) for width, height in level.sizes))
        for level in levels
    )


def default_boxes(spec: ModelSpec) -> Boxes:
    """Make all default boxes of a model: (A, 4) cxcywh in fractions of the image, level by level, row by row.

    A box is centred in its cell: ((i + 0.5)·step_x, (j + 0.5)·step_y) (paper, section 2.2).
    """
    parts = []
    for level in spec.levels:
        rows, columns = level.grid
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float64) + 0.5
        centres = np.stack([x * level.step[1], y * level.step[0]], axis=-1)[:, :, None, :]
        sizes = np.asarray(level.sizes, np.float64)[None, None]
        shape = (rows, columns, len(level.sizes), 2)
        cells = np.concatenate([np.broadcast_to(centres, shape), np.broadcast_to(sizes, shape)], axis=-1)
        parts.append(cells.reshape(-1, 4))
    boxes = np.concatenate(parts)
    if spec.clip == "cxcywh":
        boxes = np.clip(boxes, 0.0, 1.0)
    elif spec.clip:
        boxes = to_cxcywh(np.clip(to_xyxy(boxes), 0.0, 1.0))
    return boxes.astype(np.float32)


def to_xyxy(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Convert (…, 4) cxcywh to xyxy."""
    half = boxes[..., 2:] * boxes.dtype.type(0.5)
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)


def to_cxcywh(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Convert (…, 4) xyxy to cxcywh."""
    half = boxes.dtype.type(0.5)
    return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) * half, boxes[..., 2:] - boxes[..., :2]], axis=-1)


def encode(boxes: Boxes, defaults: Boxes, variances: tuple[float, float]) -> Boxes:
    """Compute the regression targets ĝ of boxes for their default boxes (paper, equation 2), divided by the variances.

    Args:
        boxes: (A, 4) xyxy in fractions of the image, of positive width and height.
        defaults: (A, 4) cxcywh.
        variances: of centre and of size.

    Returns:
        (A, 4): x, y, width, height.
    """
    target = to_cxcywh(boxes)
    centre = (target[:, :2] - defaults[:, :2]) / (np.float32(variances[0]) * defaults[:, 2:])
    size = np.log(target[:, 2:] / defaults[:, 2:]) / np.float32(variances[1])
    return np.concatenate([centre, size], axis=-1).astype(np.float32)


def decode(loc: Boxes, defaults: Boxes, variances: tuple[float, float]) -> Boxes:
    """Invert ``encode``: (A, 4) x, y, width, height → xyxy in fractions of the image."""
    centre = defaults[:, :2] + loc[:, :2] * np.float32(variances[0]) * defaults[:, 2:]
    with np.errstate(over="ignore"):  # an infinite box is clipped to the frame later, like any other
        size = defaults[:, 2:] * arithmetic.exp(loc[:, 2:] * np.float32(variances[1]))
    half = np.float32(0.5) * size
    return np.concatenate([centre - half, centre + half], axis=-1).astype(np.float32)


def clip(boxes: Boxes) -> Boxes:
    """Clip (…, 4) xyxy in fractions of the image to the image; NaN stays NaN."""
    return np.asarray(np.clip(boxes, np.float32(0), np.float32(1)), np.float32)


def areas(boxes: Boxes) -> npt.NDArray[np.float32]:
    """Compute width × height: (…, 4) xyxy → (…); 0 for a box turned inside out."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], np.float32(0))
    return np.asarray(sides[..., 0] * sides[..., 1], np.float32)


def iou(first: Boxes, second: Boxes) -> npt.NDArray[np.float32]:
    """Compute intersection over union of broadcast xyxy boxes: (…, 4), (…, 4) → (…); 0 where both have no area.

    For all pairs of N and M boxes: ``iou(a[:, None], b[None])``.
    """
    width = np.minimum(first[..., 2], second[..., 2]) - np.maximum(first[..., 0], second[..., 0])
    height = np.minimum(first[..., 3], second[..., 3]) - np.maximum(first[..., 1], second[..., 1])
    shared = np.maximum(width, np.float32(0)) * np.maximum(height, np.float32(0))
    union = areas(first) + areas(second) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), np.float32)


def match(boxes: Boxes, defaults: Boxes, threshold: float = MATCH_IOU) -> npt.NDArray[np.int64]:
    """Assign an object or background to each default box (paper, section 2.2, "matching strategy").

    Every object gets the default box of highest IoU, but no two objects the same one (best pair first). Then every
    other default box gets the object that it overlaps most, if the IoU is at least ``threshold``. An object gets no
    default box if it overlaps none, or if there are fewer default boxes than objects.

    Args:
        boxes: (N, 4) xyxy in fractions of the image.
        defaults: (A, 4) cxcywh.
        threshold: lowest IoU of a match, apart from each object's best one.

    Returns:
        (A,) index into ``boxes``, −1 for background.
    """
    if len(boxes) == 0:
        return np.full(len(defaults), -1, np.int64)
    overlaps = iou(boxes[:, None], to_xyxy(defaults)[None].astype(np.float32))
    best = overlaps.argmax(axis=0)
    matched = np.where(overlaps.max(axis=0) >= np.float32(threshold), best, -1).astype(np.int64)
    for _ in range(min(len(boxes), len(defaults))):
        obj, default = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        if overlaps[obj, default] <= 0:  # the remaining objects touch no free default box, or have no area
            break
        matched[default] = obj
        overlaps[obj] = -1
        overlaps[:, default] = -1
    return matched
