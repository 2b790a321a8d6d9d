"""Encode pictures as JPEG."""

from __future__ import annotations

import cv2

from ssd_edge.errors import SinkError
from ssd_edge.pixels import Image

_MOST_OF_JPEG = 65500
"""JPEG_MAX_DIMENSION of libjpeg."""


def as_jpeg(picture: Image, quality: int, what: str) -> bytes:
    """Encode a picture.

    Args:
        picture: (height, width, 3) uint8 BGR.
        quality: 0 … 100.
        what: what the error says that cannot be written.

    Raises:
        SinkError: the picture is too large for a JPEG.
    """
    if max(picture.shape[:2]) > _MOST_OF_JPEG:
        raise SinkError(
            f"cannot write {what}: a JPEG is at most {_MOST_OF_JPEG} pixels wide and high, but this "
            f"frame is {picture.shape[1]}×{picture.shape[0]}: use --save-json"
        )
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()
