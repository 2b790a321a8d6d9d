"""Augment a BGR image and its boxes by flip, colour and crop; all randomness comes from the given generator."""

from __future__ import annotations

import cv2
import numpy as np

from ssd_edge.data.dataset import Image, Target

MIN_VISIBLE = 0.4
"""An object is kept in a crop if its centre and at least this share of its area are inside."""


def augment(image: Image, target: Target, rng: np.random.Generator) -> tuple[Image, Target]:
    """Crop (half of the time), mirror (half of the time), change colour.

    Args:
        image: (height, width, 3) uint8 BGR; not changed.
        target: its objects, xyxy in pixels.
        rng: source of all random choices.

    Returns:
        A new image, maybe smaller, and the objects that remain in it.
    """
    if rng.random() < 0.5:
        image, target = random_crop(image, target, rng)
    if rng.random() < 0.5:
        image, target = mirror(image, target)
    return random_colour(image, rng), target


def mirror(image: Image, target: Target) -> tuple[Image, Target]:
    """Mirror an image and its boxes, left to right."""
    width = np.float32(image.shape[1])
    boxes = target.boxes.copy()
    boxes[:, [0, 2]] = width - target.boxes[:, [2, 0]]
    return np.ascontiguousarray(image[:, ::-1]), Target(boxes, target.labels, target.difficult, target.crowd)


def random_crop(image: Image, target: Target, rng: np.random.Generator, smallest: float = 0.5) -> tuple[Image, Target]:
    """Crop to a random window of about ``smallest`` … 1 of each side that keeps an object, if the image has any.

    Objects of which too little remains are dropped; the others are clipped to the window. After 20 failed attempts the
    image is returned unchanged.
    """
    height, width = image.shape[:2]
    for _ in range(20):
        scale, aspect = rng.uniform(smallest, 1.0), rng.uniform(0.8, 1.25)
        w = min(width, max(1, round(width * scale * aspect**0.5)))
        h = min(height, max(1, round(height * scale / aspect**0.5)))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        window = np.asarray([x, y, x + w, y + h], np.float32)
        clipped = np.clip(target.boxes, window[[0, 1, 0, 1]], window[[2, 3, 2, 3]])
        centre = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2
        inside = ((centre > window[:2]) & (centre < window[2:])).all(axis=1)
        whole = np.prod(target.boxes[:, 2:] - target.boxes[:, :2], axis=1)
        visible = np.prod(clipped[:, 2:] - clipped[:, :2], axis=1)
        keep = inside & (visible >= MIN_VISIBLE * whole)
        if keep.any() or not len(target):
            moved = Target(clipped - window[[0, 1, 0, 1]], target.labels, target.difficult, target.crowd)
            return image[y : y + h, x : x + w], moved.where(keep)
    return image, target


def random_colour(image: Image, rng: np.random.Generator) -> Image:
    """Change brightness, contrast, saturation and hue a little."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    hue = (np.arange(256) + int(rng.integers(-9, 10))) % 180  # OpenCV's hue has steps of two degrees
    contrast, saturation = rng.uniform(0.7, 1.3), rng.uniform(0.6, 1.4)
    brightness = rng.uniform(-32, 32)
    levels = np.arange(256, dtype=np.float64)
    tables = np.stack(
        [
            hue,
            np.clip(levels * saturation, 0, 255),
            np.clip((levels - 128) * contrast + 128 + brightness, 0, 255),
        ],
        axis=-1,
    ).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, tables[None]), cv2.COLOR_HSV2BGR), np.uint8)
