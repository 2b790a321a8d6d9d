"""List Linux's cameras and their formats by the queries of <linux/videodev2.h>, without starting or changing any."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssd_edge.machine.children import tell

# Numbers and layouts from <linux/videodev2.h>: they are part of the kernel's interface, and never change.
_QUERYCAP, _ENUM_FMT, _ENUM_FRAMESIZES, _ENUM_INTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
_CAPABILITY = struct.Struct("=16s32s32sIII12x")  # driver, card, bus, version, device's and node's capabilities
_FORMAT = struct.Struct("=III32s4s16x")  # index, type, flags, description, pixel format
_SIZE = struct.Struct("=I4sI8I")  # index, pixel format, type, then width and height, or a range of both
_INTERVAL = struct.Struct("=I4sIII6I8x")  # index, pixel format, width, height, type, then seconds, or a range of them
_SINGLE, _MULTI = 0x1, 0x1000  # flags for capturing video in one plane, or in several
_BUFFER_TYPES = {_SINGLE: 1, _MULTI: 9}
_MOST = 64  # limit of formats, and of sizes of one format, since broken drivers list them without end


def answer(folder: Path = Path("/dev")) -> dict[str, dict[str, Any]]:
    """Describe each ``video*`` of a folder, by name.

    Returns:
        ``captures``: whether it gives frames (a camera may have further nodes that do not), ``card``, ``bus``,
        ``formats``: maps a pixel format, such as ``MJPG``, to its largest [width, height], which is [0, 0] if unknown,
        and ``sizes``: maps it to all of its sizes, each as smallest, largest and step of the width, then of the height,
        which for a single size are the same with a step of 1. ``rates``: maps it to a list for each of these sizes, of
        the frames per second that the camera lists there, the fastest first. Or ``error``: why it cannot be opened or
        queried.
    """
    return {path.name: _device(path) for path in folder.glob("video*")}


def _device(path: Path) -> dict[str, Any]:
    try:
        device = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return {"error": error.strerror}
    try:
        _, card, bus, _, _, caps = _CAPABILITY.unpack(_ask(device, _QUERYCAP, bytes(_CAPABILITY.size)))
        kind = caps & _SINGLE or caps & _MULTI
        sizes = {name: _sizes(device, name) for name in _formats(device, _BUFFER_TYPES[kind])} if kind else {}
        rates = {name: [_rates(device, name, size) for size in of_format] for name, of_format in sizes.items()}
    except OSError as error:
        return {"error": error.strerror}
    finally:
        os.close(device)
    formats = {name: _largest(all_sizes) for name, all_sizes in sizes.items()}
    about = {"captures": bool(kind), "card": _text(card), "bus": _text(bus)}
    return {**about, "formats": formats, "sizes": sizes, "rates": rates}


def _formats(device: int, buffer_type: int) -> Iterator[str]:
    for index in range(_MOST):
        try:
            reply = _ask(device, _ENUM_FMT, _FORMAT.pack(index, buffer_type, 0, b"", b""))
        except OSError:  # EINVAL after the last format
            return
        yield _FORMAT.unpack(reply)[4].decode("ascii", errors="replace")


def _sizes(device: int, pixel_format: str) -> list[tuple[int, ...]]:
    sizes: list[tuple[int, ...]] = []
    for index in range(_MOST):
        try:
            reply = _ask(device, _ENUM_FRAMESIZES, _SIZE.pack(index, pixel_format.encode(), 0, *[0] * 8))
        except OSError:
            break
        _, _, kind, *numbers = _SIZE.unpack(reply)
        if kind != 1:  # a range: smallest, largest and step of the width, then of the height
            return [tuple(numbers[:6])]
        width, height = numbers[:2]
        if (size := (width, width, 1, height, height, 1)) not in sizes:
            sizes.append(size)
    return sizes


def _rates(device: int, pixel_format: str, size: tuple[int, ...]) -> list[float]:
    """List the frame rates of a size; of a range of sizes, those of its largest."""
    rates: set[float] = set()
    for index in range(_MOST):
        try:
            question = _INTERVAL.pack(index, pixel_format.encode(), size[1], size[4], 0, *[0] * 6)
            _, _, _, _, kind, *numbers = _INTERVAL.unpack(_ask(device, _ENUM_INTERVALS, question))
        except OSError:
            break
        fractions = [numbers[:2]] if kind == 1 else [numbers[:2], numbers[2:4]]  # one, or the shortest and the longest
        new = {round(below / above, 3) for above, below in fractions if above and below}
        if new <= rates:
            break
        rates |= new
        if kind != 1:
            break
    return sorted(rates, reverse=True)


def _largest(sizes: list[tuple[int, ...]]) -> tuple[int, int]:
    return max(((size[1], size[4]) for size in sizes), key=lambda one: one[0] * one[1], default=(0, 0))


def _ask(device: int, question: int, content: bytes) -> bytes:
    return fcntl.ioctl(device, question, content)


def _text(content: bytes) -> str:
    return content.partition(b"\0")[0].decode(errors="replace")


if __name__ == "__main__":
    tell(answer)
