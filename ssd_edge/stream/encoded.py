"""Compressed pictures as sources got them, and what decodes each kind to the same bits again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ssd_edge.data.picture import decode_picture
from ssd_edge.pixels import Image


class Encoded(NamedTuple):
    """A compressed picture: a key of ``DECODERS``, and its bytes."""

    decoder: str
    data: bytes


def _by_ffmpeg(data: bytes) -> Image:
    """Decode a JPEG of a stream; FFmpeg and OpenCV differ in how they make colours of it."""
    import av  # late, since only this needs it
    from av.video.codeccontext import VideoCodecContext

    context = av.CodecContext.create("mjpeg", "r")
    assert isinstance(context, VideoCodecContext)
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"FFmpeg cannot decode it: {error.strerror}") from None
    if len(frames) != 1:
        raise ValueError(f"it holds {len(frames)} pictures")
    return np.ascontiguousarray(frames[0].to_ndarray(format="bgr24"), np.uint8)


DECODERS: Mapping[str, Callable[[bytes], Image]] = {
    "picture": lambda data: decode_picture(data).image,
    "mjpeg": _by_ffmpeg,
}
"""Decoders: of image files, and of JPEG in a stream. Each raises ValueError for bytes that it cannot decode."""
