"""Messages between the loop's process and a candidate's: a header in JSON, then arrays as they are.

Four bytes of the header's length, the header, and as many bytes of content as it names. Nothing is ever executed.
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any

import numpy as np

from ssd_edge.detections import Detections
from ssd_edge.pixels import Image

_LENGTH = struct.Struct("=I")
_MOST_HEADER = 1 << 16


def send(stream: IO[bytes], header: dict[str, Any], content: bytes | memoryview = b"") -> None:
    """Write a message; blocks until the other side has room for it.

    Raises:
        OSError: the other side has ended.
    """
    encoded = json.dumps({**header, "bytes": len(content)}).encode()
    stream.write(_LENGTH.pack(len(encoded)) + encoded)
    stream.write(content)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytearray]:
    """Read a message; the header is empty at the end of the stream.

    Raises:
        ValueError: it is none.
    """
    start = stream.read(_LENGTH.size)
    if len(start) < _LENGTH.size:
        return {}, bytearray()
    (length,) = _LENGTH.unpack(start)
    if length > _MOST_HEADER:
        raise ValueError("a header is too long")
    encoded = stream.read(length)
    if len(encoded) < length:
        return {}, bytearray()
    header: dict[str, Any] = json.loads(encoded)
    content = bytearray(header["bytes"])
    view, done = memoryview(content), 0
    while done < len(content):
        got = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            return {}, bytearray()
        done += got
    return header, content


def frame_message(image: Image) -> tuple[dict[str, Any], memoryview]:
    """Make header and content of a frame."""
    whole = np.ascontiguousarray(image)
    return {"shape": list(whole.shape)}, whole.reshape(-1).data


def image_of(header: dict[str, Any], content: bytearray) -> Image:
    """Invert ``frame_message``."""
    return np.frombuffer(content, np.uint8).reshape(header["shape"])


def detections_message(detections: Detections) -> tuple[dict[str, Any], bytes]:
    """Make header and content of detections."""
    parts = (detections.boxes, detections.scores, detections.labels)
    return {"count": len(detections), "num_cut": detections.num_cut}, b"".join(part.tobytes() for part in parts)


def detections_of(header: dict[str, Any], content: bytearray) -> Detections:
    """Invert ``detections_message``."""
    count = header["count"]
    boxes = np.frombuffer(content, np.float32, 4 * count).reshape(count, 4)
    scores = np.frombuffer(content, np.float32, count, 16 * count)
    labels = np.frombuffer(bytes(content[20 * count :]), np.int64, count)
    return Detections(boxes, scores, labels, header["num_cut"])
