"""Move the pixels of an image and its boxes together: view through a window, mirror, stretch. Nothing is random."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Image, Target

Colour = tuple[int, int, int]
"""Blue, green, red in 0 … 255."""


class Window(NamedTuple):
    """A rectangle in pixels of an image, of at least one pixel; it may reach out of the image.

    Attributes:
        left, top: the first column and row.
        right, bottom: the column and row behind the last.
    """

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def whole(cls, image: Image) -> Window:
        """Return the window that shows an image as it is."""
        return cls(0, 0, image.shape[1], image.shape[0])

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top


def view(
    image: Image, target: Target, window: Window, fill: Colour = (0, 0, 0), least_visible: float = 0.0
) -> tuple[Image, Target]:
    """Show an image through a window; ``fill`` is where the window reaches out of the image.

    Boxes are clipped to the window, see ``seen`` for which of them stay.

    Args:
        image: (height, width, 3) uint8 BGR.
        target: its objects, xyxy in pixels.
        window: what to show.
        fill: colour outside of the image.
        least_visible: smallest share of an object's area that the window must show.

    Returns:
        The window's pixels, which may share memory with the image, and the objects in pixels of the window.
    """
    keep = seen(target, window, least_visible)
    clipped = _clipped(target.boxes, window) - np.asarray([*window[:2], *window[:2]], np.float32)
    shown = Target(clipped, target.labels, target.difficult, target.crowd).where(keep)
    return _pixels(image, window, fill), shown


def seen(target: Target, window: Window, least_visible: float = 0.0) -> npt.NDArray[np.bool_]:
    """Tell which objects a window shows, as (N,) bool.

    An object is seen if its centre lies inside the window (paper, section 2.2), and at least ``least_visible`` of its
    area. A crowd is no object but a region to ignore: it is seen as far as it reaches into the window.
    """
    clipped = _clipped(target.boxes, window)
    sides = clipped[:, 2:] - clipped[:, :2]
    visible, whole = sides.prod(axis=1), (target.boxes[:, 2:] - target.boxes[:, :2]).prod(axis=1)
    low, high = np.asarray(window[:2], np.float32), np.asarray(window[2:], np.float32)
    centre = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
    centred = ((centre > low) & (centre < high)).all(axis=1)
    return np.where(target.crowd, (sides > 0).all(axis=1), centred & (visible >= least_visible * whole))


def mirror(image: Image, target: Target) -> tuple[Image, Target]:
    """Mirror an image and its boxes, left to right."""
    width = np.float32(image.shape[1])
    boxes = target.boxes.copy()
    boxes[:, [0, 2]] = width - target.boxes[:, [2, 0]]
    return np.ascontiguousarray(image[:, ::-1]), Target(boxes, target.labels, target.difficult, target.crowd)


def stretch(image: Image, target: Target, size: tuple[int, int], interpolation: int) -> tuple[Image, Target]:
    """Resize an image to (height, width), without keeping its aspect ratio, and its boxes with it.

    Args:
        image: (height, width, 3) uint8 BGR.
        target: its objects, xyxy in pixels.
        size: (height, width) of the result.
        interpolation: one of OpenCV's ``INTER_…``.
    """
    factors = np.asarray([size[1] / image.shape[1], size[0] / image.shape[0]] * 2, np.float64)
    edges = np.asarray([size[1], size[0]] * 2, np.float32)
    boxes = np.minimum((target.boxes * factors).astype(np.float32), edges)
    resized = np.asarray(cv2.resize(image, size[::-1], interpolation=interpolation), np.uint8)
    return resized, Target(boxes, target.labels, target.difficult, target.crowd)


def _clipped(boxes: npt.NDArray[np.float32], window: Window) -> npt.NDArray[np.float32]:
    low, high = np.asarray([*window[:2]] * 2, np.float32), np.asarray([*window[2:]] * 2, np.float32)
    return np.clip(boxes, low, high)


def _pixels(image: Image, window: Window, fill: Colour) -> Image:
    left, top = max(window.left, 0), max(window.top, 0)
    right, bottom = min(window.right, image.shape[1]), min(window.bottom, image.shape[0])
    part = image[top : max(top, bottom), left : max(left, right)]
    if part.shape[:2] == (window.height, window.width):
        return part
    # Row by row: NumPy copies whole rows many times as fast as three bytes for each pixel.
    canvas = np.empty((window.height, window.width * 3), np.uint8)
    canvas[:] = np.tile(np.asarray(fill, np.uint8), window.width)
    pixels = canvas.reshape(window.height, window.width, 3)
    if part.size:
        y, x = top - window.top, left - window.left
        pixels[y : y + part.shape[0], x : x + part.shape[1]] = part
    return pixels
