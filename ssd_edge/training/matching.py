"""Turn the objects of an image into the target of each default box; the matching rule itself is ``boxes.match``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ssd_edge import boxes
from ssd_edge.data.dataset import Target

IGNORE = -1
"""Class target of a default box on a crowd or a difficult object: it counts neither as object nor as background."""


def training_target(
    target: Target,
    image_size: tuple[int, int],
    defaults: boxes.Boxes,
    variances: tuple[float, float],
    threshold: float = boxes.MATCH_IOU,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Compute the regression and class targets of one image.

    Args:
        target: objects in pixels.
        image_size: (height, width) in pixels.
        defaults: (A, 4) cxcywh in fractions of the image.
        variances: scale factors of centre and size offsets, as in ``ModelSpec``.
        threshold: smallest IoU at which a default box is matched to an object.

    Returns:
        loc (A, 4) float32, 0 for unmatched boxes; classes (A,) int64: 0 background, label + 1, or ``IGNORE``.
    """
    height, width = image_size
    fractions = (target.boxes / np.asarray([width, height, width, height], np.float32)).astype(np.float32)
    vague = target.difficult | target.crowd
    objects, labels = fractions[~vague], target.labels[~vague]
    matched = boxes.match(objects, defaults, threshold)
    positive = matched >= 0
    loc = np.zeros((len(defaults), 4), np.float32)
    loc[positive] = boxes.encode(objects[matched[positive]], defaults[positive], variances)
    classes = np.zeros(len(defaults), np.int64)
    classes[positive] = labels[matched[positive]] + 1
    classes[~positive & _on(fractions[vague], defaults)] = IGNORE
    return loc, classes


def _on(regions: boxes.Boxes, defaults: boxes.Boxes, share: float = 0.5) -> npt.NDArray[np.bool_]:
    """Whether, as (A,) bool, at least ``share`` of a default box lies on one of the regions."""
    corners = boxes.to_xyxy(defaults).astype(np.float32)
    low = np.maximum(regions[:, None, :2], corners[None, :, :2])
    high = np.minimum(regions[:, None, 2:], corners[None, :, 2:])
    covered = boxes.areas(np.concatenate([low, high], axis=-1).astype(np.float32))
    return np.asarray((covered >= share * boxes.areas(corners)).any(axis=0))
