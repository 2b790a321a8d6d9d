"""Augment moderately: crop, mirror and change colours a little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ssd_edge.data.augment.geometry import Window, mirror, seen, view
from ssd_edge.data.augment.photometric import HUES, LEVELS, through_hsv
from ssd_edge.data.dataset import Image, Target
from ssd_edge.spec import ModelSpec

if TYPE_CHECKING:
    from ssd_edge.data.augment.catalogue import Augment

MIN_VISIBLE = 0.4
"""An object is kept in a crop if its centre and at least this share of its area are inside."""


def for_model(spec: ModelSpec) -> Augment:
    """Return ``augment``, which is the same for every model."""
    return augment


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
        window = Window(x, y, x + w, y + h)
        if seen(target, window, MIN_VISIBLE).any() or not len(target):
            return view(image, target, window, least_visible=MIN_VISIBLE)
    return image, target


def random_colour(image: Image, rng: np.random.Generator) -> Image:
    """Change brightness, contrast, saturation and hue a little."""
    hue = (LEVELS + int(rng.integers(-9, 10))) % HUES
    contrast, saturation = rng.uniform(0.7, 1.3), rng.uniform(0.6, 1.4)
    brightness = rng.uniform(-32, 32)
    values = (LEVELS - 128) * contrast + 128 + brightness
    tables = (np.clip(levels, 0, 255).astype(np.uint8) for levels in (hue, LEVELS * saturation, values))
    return through_hsv(image, *tables)
