"""Images with coloured rectangles as objects, and where these are seen again after a change."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ssd_edge.data.dataset import Image, Target

COLOURS = [(0, 0, 255), (0, 255, 0), (255, 0, 0)]
"""Colours of objects 0, 1 and 2, on black."""


@st.composite
def scenes(draw: Any) -> tuple[Image, Target]:
    """Draw an image with up to three coloured rectangles that do not overlap, each in its own third."""
    height, width = draw(st.integers(12, 60)), draw(st.integers(36, 90))
    image = np.zeros((height, width, 3), np.uint8)
    rows, labels = [], []
    for label in draw(st.lists(st.integers(0, 2), max_size=3, unique=True)):
        left, right = label * (width // 3), (label + 1) * (width // 3)
        x1 = draw(st.integers(left, right - 1))
        x2 = draw(st.integers(x1 + 1, right))
        y1 = draw(st.integers(0, height - 1))
        y2 = draw(st.integers(y1 + 1, height))
        image[y1:y2, x1:x2] = COLOURS[label]
        rows.append([x1, y1, x2, y2])
        labels.append(label)
    flags = draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    return image, Target.of(rows, labels, flags, [not flag for flag in flags])


def three_objects() -> tuple[Image, Target]:
    """Draw one object of each colour, far enough apart that no interpolation mixes two of them; none is a crowd."""
    image = np.zeros((60, 90, 3), np.uint8)
    boxes = [[5, 10, 25, 30], [40, 20, 55, 50], [68, 5, 88, 25]]
    for (x1, y1, x2, y2), colour in zip(boxes, COLOURS, strict=True):
        image[y1:y2, x1:x2] = colour
    return image, Target.of(boxes, [0, 1, 2], [False, True, False])


def extent_of(image: Image, label: int) -> list[int]:
    """Compute x1, y1, x2, y2 of the pixels in which an object's colour is the strongest part of more than half."""
    channel = 2 - label
    y, x = np.nonzero(image[..., channel] >= 128)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def assert_on_pixels(image: Image, target: Target, tolerance: float = 0.0) -> None:
    """Check that each box is where its object's colour is, to a number of pixels."""
    for box, label in zip(target.boxes, target.labels, strict=True):
        np.testing.assert_allclose(box, extent_of(image, int(label)), rtol=0, atol=tolerance)


def assert_sound(image: Image, target: Target) -> None:
    """Check types, and that each box has an area and lies in the image."""
    height, width = image.shape[:2]
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert min(height, width) >= 1
    assert target.boxes.dtype == np.float32
    assert (target.boxes[:, 2:] > target.boxes[:, :2]).all()
    assert (target.boxes >= 0).all()
    assert (target.boxes <= [width, height, width, height]).all()


def assert_flags_carried(before: Target, after: Target) -> None:
    """Check that each object that is left has the flags that it had; the labels must differ."""
    flags = dict(zip(before.labels.tolist(), zip(before.difficult, before.crowd, strict=True), strict=True))
    for k, label in enumerate(after.labels.tolist()):
        assert (after.difficult[k], after.crowd[k]) == flags[label]
