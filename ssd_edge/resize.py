"""Resize a frame to the network's input, in integer arithmetic that is the same on every processor and in the kernel.

``linear`` is OpenCV's INTER_LINEAR_EXACT. (INTER_LINEAR differs between x86 and ARM, where OpenCV calls another
library.) Each output pixel lies between two rows and two columns of the frame; the weight of the second of each is
rounded to 1/256, and all sums are whole numbers below 2^24:

    position = (at + 0.5) · scale − 0.5, in float64,   scale = 1 / (size / frame size)
    weight   = round(256 · (position − ⌊position⌋)), half to even; at the frame's edges 0
    row      = left · (256 − weight) + right · weight
    pixel    = (upper row · (256 − weight) + lower row · weight + 32768) >> 16

``area`` averages all pixels of the frame that an output pixel covers, those at its edges by the part that it covers, so
that no pixel of a large frame is skipped. With each pixel of the frame cut into ``size`` parts along an axis, an output
pixel covers ``frame size`` of these parts, and all weights are whole numbers. If the frame is not larger than the input
in both directions, there is nothing to average, and ``area`` is the same as ``linear``.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.spec import Resize

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""(height, width)."""


def resize(frame: Pixels, size: Size, how: Resize) -> Pixels:
    """Resize a frame; a frame that already has the size keeps its pixels.

    Args:
        frame: (height, width, 3) uint8.
        size: (height, width) of the result.
        how: a key of ``RESIZES``.
    """
    return RESIZES[how](frame, size)


def linear(frame: Pixels, size: Size) -> Pixels:
    """Resize by bilinear interpolation."""
    if frame.shape[:2] == (1, 1):  # which OpenCV 4.5, Ubuntu 22.04's, refuses
        return linear_in_integers(frame, size)
    return np.asarray(cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)


def area(frame: Pixels, size: Size) -> Pixels:
    """Resize by averaging."""
    if not averages(frame.shape[:2], size):
        return linear(frame, size)
    # Summed-area table: its whole numbers do not depend on the order of adding. Where an output pixel's edge cuts a
    # pixel, sums are weighted by whole numbers of parts, so that all values stay exact in float64 (up to 2^53).
    sums = cv2.integral(frame, sdepth=cv2.CV_32S if frame.size // 3 < _MOST_OF_INT32 else cv2.CV_64F)
    (row, row_parts), (column, column_parts) = (cuts(*pair) for pair in zip(size, frame.shape[:2], strict=True))
    upper, lower = (sums.take(rows, axis=0, mode="clip") for rows in (row, row + 1))
    before, behind = (
        _between(
            upper.take(columns, axis=1, mode="clip"),
            lower.take(columns, axis=1, mode="clip"),
            row_parts[:, None, None],
            size[0],
        )
        for columns in (column, column + 1)
    )
    corners = _between(before, behind, column_parts[:, None], size[1])
    covered = np.diff(np.diff(corners, axis=0), axis=1)
    total = frame.shape[0] * frame.shape[1]
    return np.asarray(np.floor((covered + total // 2) / total), np.uint8)


_MOST_OF_INT32 = (1 << 31) // 255
"""Number of pixels whose sum fits into an int32."""


RESIZES: dict[str, Callable[[Pixels, Size], Pixels]] = {"linear": linear, "area": area}


def averages(frame_size: tuple[int, ...], size: Size) -> bool:
    """Whether ``area`` has something to average."""
    return frame_size[0] > size[0] and frame_size[1] > size[1]


def linear_in_integers(frame: Pixels, size: Size) -> Pixels:
    """``linear`` to the last bit, in NumPy: the reference for the kernel, and for OpenCV on any processor."""
    (row, row_weight), (column, column_weight) = (taps(*pair) for pair in zip(size, frame.shape[:2], strict=True))
    pixels = frame.astype(np.int32)
    next_row, next_column = (
        np.minimum(one + 1, length - 1) for one, length in zip((row, column), frame.shape[:2], strict=True)
    )
    weight = column_weight[:, None]
    rows = pixels[:, column] * (256 - weight) + pixels[:, next_column] * weight
    weight = row_weight[:, None, None]
    return np.asarray((rows[row] * (256 - weight) + rows[next_row] * weight + (1 << 15)) >> 16, np.uint8)


IN_INTEGERS: dict[str, Callable[[Pixels, Size], Pixels]] = {"linear": linear_in_integers, "area": area}
"""``RESIZES`` without OpenCV's interpolation; ``area`` uses OpenCV only to add up pixels."""


def taps(size: int, frame_size: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Compute, along one axis, the first of the two pixels around each output pixel, and the second's weight in 1/256.

    Args:
        size: number of output pixels.
        frame_size: number of pixels of the frame.

    Returns:
        Both (size,) int32.
    """
    scale = 1.0 / (size / frame_size)
    position = (np.arange(size) + 0.5) * scale - 0.5
    low = np.floor(position)
    weight = np.rint((position - low) * 256)
    weight[(low < 0) | (low >= frame_size - 1)] = 0
    return np.clip(low, 0, frame_size - 1).astype(np.int32), weight.astype(np.int32)


def cuts(size: int, frame_size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Compute the edges of the output pixels along an axis: whole pixels of the frame, and parts of the next one.

    Both are (size + 1,).
    """
    return np.divmod(np.arange(size + 1) * frame_size, size)


def _between(
    before: npt.NDArray[np.number], behind: npt.NDArray[np.number], parts: npt.NDArray[np.int64], of: int
) -> npt.NDArray[np.float64]:
    """Interpolate sums at a cut through a pixel, times ``of``, from the sums before and behind that pixel."""
    return np.asarray(before * (of - parts).astype(np.float64) + behind * parts.astype(np.float64), np.float64)
