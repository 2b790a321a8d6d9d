"""Augment as the SSD paper does (arXiv 1512.02325 v5, sections 2.2 and 3.6).

Where the paper leaves a number open, it is that of the authors' code: github.com/weiliu89/caffe, branch ssd,
examples/ssd/ssd_pascal.py, src/caffe/util/sampler.cpp and src/caffe/data_transformer.cpp. Where the two differ, the
paper's text counts: patches begin at 0.1 of the image's sides, not at 0.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge import boxes
from ssd_edge.data.augment.geometry import Colour, Window, mirror, stretch, view
from ssd_edge.data.augment.photometric import Distortion
from ssd_edge.data.dataset import Image, Target
from ssd_edge.spec import ModelSpec

EXPANSION = 4.0
"""Largest ratio of the expanded image's sides to the image's; half of the images are expanded (section 3.6)."""
PATCHES: tuple[float | None, ...] = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
"""What is asked of a patch: None for the whole image, else its least IoU with some object; 0 asks nothing."""
SCALES = (0.1, 1.0)
"""Range of a patch's size: the geometric mean of its sides, as fractions of the image's."""
ASPECTS = (0.5, 2.0)
"""Range of a patch's aspect ratio, width / height, both as fractions of the image's."""
TRIALS = 50
"""Patches that are drawn before another of ``PATCHES`` is tried."""
INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


@dataclass(frozen=True)
class PaperAugmentation:
    """The paper's augmentation: distort, expand, crop, mirror, resize.

    Attributes:
        size: (height, width) of the network's input, which all results have, so that preprocess resizes them no more.
        mean: colour around an expanded image.
    """

    size: tuple[int, int]
    mean: Colour

    def __call__(self, image: Image, target: Target, rng: np.random.Generator) -> tuple[Image, Target]:
        """Make a random variant of (height, width, 3) uint8 BGR and its objects; neither is changed in place."""
        image = Distortion.draw(rng)(image)
        window = Window.whole(image)
        if rng.random() < 0.5:
            window = expansion(window, rng)
        image, target = view(image, target, patch(window, target, rng), self.mean)
        if rng.random() < 0.5:
            image, target = mirror(image, target)
        return stretch(image, target, self.size, INTERPOLATIONS[rng.integers(len(INTERPOLATIONS))])


def for_model(spec: ModelSpec) -> PaperAugmentation:
    """Make the augmentation for a model's input size and mean."""
    mean = spec.mean[::-1] if spec.channel_order == "rgb" else spec.mean
    blue, green, red = (min(max(round(level), 0), 255) for level in mean)
    return PaperAugmentation(spec.input_size, (blue, green, red))


def expansion(window: Window, rng: np.random.Generator) -> Window:
    """Draw a window around a window, with sides 1 to ``EXPANSION`` times as long, anywhere around it."""
    ratio = rng.uniform(1.0, EXPANSION)
    width, height = int(window.width * ratio), int(window.height * ratio)
    left = window.left - int(rng.integers(width - window.width + 1))
    top = window.top - int(rng.integers(height - window.height + 1))
    return Window(left, top, left + width, top + height)


def patch(
    window: Window, target: Target, rng: np.random.Generator, conditions: Sequence[float | None] = PATCHES
) -> Window:
    """Draw a patch of a window, which may be all of it.

    A condition is chosen by chance; if none of ``TRIALS`` patches meets it, another. So each that can be met is as
    likely as any other, as in the authors' code. Crowds are no objects here.

    Args:
        window: what to take a patch of.
        target: objects, xyxy in the same pixels as the window.
        rng: source of all random choices.
        conditions: see ``PATCHES``.
    """
    for choice in rng.permutation(len(conditions)):
        least = conditions[choice]
        if least is None:
            break
        drawn = patches(window, TRIALS if least > 0 else 1, rng)
        overlaps = boxes.iou(drawn[:, None].astype(np.float32), target.boxes[~target.crowd][None])
        (meeting,) = np.nonzero((overlaps >= least).any(axis=1) if least > 0 else np.ones(1))
        if len(meeting):
            return Window(*drawn[meeting[0]].tolist())
    return window


def patches(window: Window, number: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw patches of a window as (number, 4): left, top, right, bottom in pixels.

    A patch that is too long for the window gets the nearest aspect ratio at which it fits, as in the authors' code.
    """
    scale = rng.uniform(*SCALES, number)
    aspect = np.clip(rng.uniform(*ASPECTS, number), scale**2, scale**-2)
    sides = np.stack([scale * np.sqrt(aspect), scale / np.sqrt(aspect)], axis=1)
    whole = np.asarray([window.width, window.height])
    pixels = np.clip(np.rint(sides * whole), 1, whole).astype(np.int64)
    corner = rng.integers(whole - pixels + 1) + np.asarray(window[:2])
    return np.concatenate([corner, corner + pixels], axis=1)
