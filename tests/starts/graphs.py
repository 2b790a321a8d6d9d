"""Write TensorFlow graphs of constants: an encoder of protocol buffers for tests, as protobuf.dev says."""

from __future__ import annotations

import numpy as np


def varint(value: int) -> bytes:
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def constant(name: str, array: np.ndarray, op: bytes = b"Const", kind: int = 1) -> bytes:
    shape = b"".join(field(2, field(1, size)) for size in array.shape)
    tensor = field(1, kind) + field(2, shape) + field(4, array.tobytes())
    attributes = field(5, field(1, b"dtype") + field(2, field(6, 1))) + field(
        5, field(1, b"value") + field(2, field(8, tensor))
    )
    return field(1, field(1, name.encode()) + field(2, op) + attributes)
