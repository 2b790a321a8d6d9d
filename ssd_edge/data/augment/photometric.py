"""Distort the colours of an image as the SSD authors do: brightness, contrast, saturation, hue.

Source: github.com/weiliu89/caffe, branch ssd, ``distort_param`` in examples/ssd/ssd_pascal.py and ``ApplyDistort`` in
src/caffe/util/im_transforms.cpp; the paper (section 2.2) names only A. G. Howard, arXiv 1312.5402.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.data.dataset import Image

Table = npt.NDArray[np.uint8]
"""(256,) uint8: what each level becomes."""

LEVELS = np.arange(256)
HUES = 180
"""Number of OpenCV's steps of hue in 8 bits, two degrees each."""

PROBABILITY = 0.5
"""Probability of each of the four distortions."""
BRIGHTNESS = 32.0
"""Largest change of brightness in levels."""
FACTORS = (0.5, 1.5)
"""Range of the factors of contrast and saturation."""
HUE = 18.0
"""Largest shift of hue in OpenCV's steps: 36 degrees."""


@dataclass(frozen=True)
class Distortion:
    """A distortion of colours.

    Attributes:
        brightness: levels to add.
        contrast: factor of all levels.
        saturation: factor of HSV's saturation.
        hue: shift in OpenCV's steps of two degrees.
        contrast_first: whether contrast comes before saturation and hue.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    contrast_first: bool = True

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Distortion:
        """Draw a distortion, in which each of the four is left out half of the time."""

        def maybe(low: float, high: float, otherwise: float) -> float:
            happens, value = rng.random() < PROBABILITY, float(rng.uniform(low, high))
            return value if happens else otherwise

        return cls(
            brightness=maybe(-BRIGHTNESS, BRIGHTNESS, 0.0),
            contrast=maybe(*FACTORS, 1.0),
            saturation=maybe(*FACTORS, 1.0),
            hue=maybe(-HUE, HUE, 0.0),
            contrast_first=bool(rng.random() < 0.5),
        )

    def __call__(self, image: Image) -> Image:
        """Distort (height, width, 3) uint8 BGR; levels are rounded and cut to 0 … 255 after each of the four."""
        brightness, contrast = table(LEVELS + self.brightness), table(LEVELS * self.contrast)
        image = through(image, contrast[brightness] if self.contrast_first else brightness)
        if self.saturation != 1 or self.hue:
            # The authors' code cuts hues below 0 to 0; here they go round, as those above 179 do in both.
            hue = table((LEVELS + round(self.hue)) % HUES)
            image = through_hsv(image, hue, table(LEVELS * self.saturation), table(LEVELS))
        return image if self.contrast_first else through(image, contrast)


def table(levels: npt.NDArray[np.number]) -> Table:
    """Round levels and cut them to 0 … 255."""
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def through(image: Image, levels: Table) -> Image:
    """Change the levels of all channels by a table."""
    if np.array_equal(levels, LEVELS):
        return image
    return np.asarray(cv2.LUT(image, levels), np.uint8)


def through_hsv(image: Image, hue: Table, saturation: Table, value: Table) -> Image:
    """Change hue, saturation and value of a BGR image by a table for each."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    changed = cv2.LUT(hsv, np.stack([hue, saturation, value], axis=-1)[None])
    return np.asarray(cv2.cvtColor(changed, cv2.COLOR_HSV2BGR), np.uint8)
