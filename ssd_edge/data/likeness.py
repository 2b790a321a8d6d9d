"""Tell pictures of the same scene: copies, bursts and neighbouring frames of a video, however they were saved.

A picture's look is how its brightness changes across a grid of 12 × 12 cells. What all pictures of a data set share,
such as a fixed camera's background or a white table, says nothing, so the mean look is taken off before two are
compared.

``ALIKE`` was chosen on real photos, see docs/data.md: the largest likeness of different scenes is 0.45, and copies
moved by 2 % of the picture, cropped by 5 % or saved with JPEG quality 40 are mostly above 0.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

Look = npt.NDArray[np.float32]
"""(288,) float32 of length 1, or zeros for a picture of one colour."""

ALIKE = 0.55
"""Least likeness, a correlation of −1 … 1, of pictures of the same scene."""

LEAST_FOR_MEAN = 8
"""Number of pictures from which on their mean look is taken off; that of fewer would be the pictures themselves."""

STILL = 0.97
"""Least likeness of the looks as they are from which on pictures of one fixed camera are the same: those of a still
scene, which differ by noise and lamps, are above 0.995; those of a belt that moved by 12 of 640 pixels at 0.92."""

_CELLS, _ROWS = 12, 256


def look_of(image: npt.NDArray[np.uint8]) -> Look:
    """Compute the look of a picture, (height, width, 3) uint8 BGR of any size."""
    small = cv2.resize(image, (_CELLS + 1, _CELLS + 1), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    changes = np.concatenate([np.diff(grey[:-1], axis=1).ravel(), np.diff(grey[:, :-1], axis=0).ravel()])
    # Roots, so that one hard edge does not outweigh everything else.
    return np.asarray(_scaled((np.sign(changes) * np.sqrt(np.abs(changes)))[None])[0])


def alike_pairs(looks: Sequence[Look]) -> Iterator[tuple[int, int, float]]:
    """Yield (i, j, likeness) with i < j for each two pictures of the same scene."""
    table = np.stack(looks) if looks else np.zeros((0, 2 * _CELLS * _CELLS), np.float32)
    if len(table) >= LEAST_FOR_MEAN:
        table = _scaled(table - table.mean(axis=0))
    for start in range(0, len(table), _ROWS):
        likeness = table[start : start + _ROWS] @ table[start:].T
        rows, columns = np.nonzero(likeness >= ALIKE)
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
            if i < j:
                yield start + i, start + j, float(likeness[i, j])


def scenes(looks: Sequence[Look]) -> list[int]:
    """Group pictures: those that are alike, directly or through others between them, get the same number."""
    scene = list(range(len(looks)))

    def first(k: int) -> int:
        while scene[k] != k:
            scene[k] = scene[scene[k]]
            k = scene[k]
        return k

    for i, j, _ in alike_pairs(looks):
        low, high = sorted((first(i), first(j)))
        scene[high] = low
    return [first(k) for k in range(len(looks))]


def known_scenes(learnt: Sequence[Look], measured: Sequence[Look]) -> list[int]:
    """Return the indices of the pictures to measure on that show the scene of one to learn from."""
    return sorted({j - len(learnt) for i, j, _ in alike_pairs([*learnt, *measured]) if i < len(learnt) <= j})


def is_known(look: Look, known: npt.NDArray[np.float32], mean: Look | None) -> bool:
    """Tell whether a fixed camera's picture shows a scene that is known.

    Args:
        look: the picture's look.
        known: (N, 288) looks of the known scenes.
        mean: mean look of the camera's pictures; None if too few were seen to know it.
    """
    if not len(known):
        return False
    if float((known @ look).max()) >= STILL or not look.any():
        return True
    return mean is not None and float((_scaled(known - mean) @ _scaled((look - mean)[None])[0]).max()) >= ALIKE


def _scaled(table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale rows to length 1; rows of zeros stay."""
    length = np.linalg.norm(table, axis=1, keepdims=True)
    return np.asarray(table / np.where(length > 1e-6, length, 1), np.float32)
