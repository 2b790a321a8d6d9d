"""Read protocol buffers without their library: the fields of a message, as numbers and bytes.

Source: protobuf.dev/programming-guides/encoding. Groups, which nothing writes today, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field: an int of a varint, otherwise the bytes.

    Raises:
        ValueError: the bytes are no message.
    """
    view, place = memoryview(message), 0
    while place < len(view):
        key, place = _varint(view, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(view, place)
            yield number, value
            continue
        if kind == _BYTES:
            length, place = _varint(view, place)
        elif kind in {_FIXED32, _FIXED64}:
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field has wire type {kind}")
        if not number or place + length > len(view):
            raise ValueError("a field ends behind its message")
        yield number, view[place : place + length]
        place += length


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; return it and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(view):
            raise ValueError("a number is cut")
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number has more than 64 bits")
