"""BGR frame → network input: the only definition, for training, calibration, evaluation and every engine."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.spec import ModelSpec


def preprocess(frame: npt.NDArray[np.uint8], spec: ModelSpec) -> npt.NDArray[np.float32]:
    """Resize (bilinear, aspect not kept, as the paper does), reorder channels, normalise.

    Args:
        frame: (height, width, 3) uint8 BGR of any size.
        spec: gives input size, channel order, mean and std.

    Returns:
        (1, 3, H, W) float32, contiguous: (pixel − mean) / std.

    Raises:
        ValueError: the frame is not (height, width, 3) uint8.
    """
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or frame.size == 0:
        raise ValueError(f"a frame must be (height, width, 3) uint8, but got {frame.shape} {frame.dtype}")
    height, width = spec.input_size
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    output = np.empty((1, 3, height, width), np.float32)
    grey = np.arange(256, dtype=np.float32)
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        source = 2 - channel if spec.channel_order == "rgb" else channel
        table = (grey - np.float32(mean)) / np.float32(std)
        # 256 divisions instead of one a pixel, and the same float32 result.
        np.take(table, resized[:, :, source], out=output[0, channel], mode="clip")
    return output
