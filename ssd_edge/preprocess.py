"""Turn a BGR frame into the network's input: the one definition for training, calibration, evaluation and engines."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.resize import resize
from ssd_edge.spec import ModelSpec


def preprocess(frame: npt.NDArray[np.uint8], spec: ModelSpec) -> npt.NDArray[np.float32]:
    """Resize (without keeping the aspect ratio, as in the paper), reorder channels, normalise.

    Args:
        frame: (height, width, 3) uint8 BGR of any size.
        spec: gives input size, channel order, mean, std and resize.

    Returns:
        (1, 3, H, W) float32, contiguous: (pixel − mean) / std.

    Raises:
        ValueError: the frame is not (height, width, 3) uint8.
    """
    check_frame(frame)
    return normalise(resize(frame, spec.input_size, spec.resize), spec)


def normalise(image: npt.NDArray[np.uint8], spec: ModelSpec) -> npt.NDArray[np.float32]:
    """Reorder channels and normalise (H, W, 3) uint8 BGR of the input's size; returns the same as ``preprocess``."""
    output = np.empty((1, 3, *spec.input_size), np.float32)
    planes = cv2.split(image)
    if spec.channel_order == "rgb":
        planes = planes[::-1]
    for channel, plane in enumerate(planes):
        cv2.LUT(plane, _levels(spec.mean[channel], spec.std[channel]), output[0, channel])
    return output


@cache
def _levels(mean: float, std: float) -> npt.NDArray[np.float32]:
    """Normalise each value that a pixel can have, (256,)."""
    return (np.arange(256, dtype=np.float32) - np.float32(mean)) / np.float32(std)


def check_frame(frame: npt.NDArray[np.uint8]) -> None:
    """Raise ValueError if a frame is not (height, width, 3) uint8, or is empty."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
        raise ValueError(f"a frame must be (height, width, 3) uint8, but got {frame.shape} {frame.dtype}")
