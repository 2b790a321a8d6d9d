"""Fit pictures into the one size that a video stream has."""

from __future__ import annotations

import cv2
import numpy as np

from ssd_edge.pixels import Image


def fitted(picture: Image, size: tuple[int, int]) -> Image:
    """Fit ``picture`` into (width, height): cut an odd last row or column, scale and centre another size."""
    width, height = size
    if picture.shape[1] // 2 * 2 == width and picture.shape[0] // 2 * 2 == height:
        return np.ascontiguousarray(picture[:height, :width])
    if picture.shape[:2] == (1, 1):
        picture = np.tile(picture, (2, 2, 1))  # OpenCV 4.5 refuses to resize one pixel
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return canvas
