"""Frames as cameras give them, and BGR from each of their formats, in integers.

A camera rarely gives BGR: a USB camera's frames are YUYV, a decoder's NV12, a Jetson's image processor gives NV12 or
BGRx. ``to_bgr_in_integers`` is the one definition of what such a frame looks like; the preprocess kernel computes the
same bits. Every pixel takes the colour difference of the block that it lies in, without interpolation:

    luma  = max(0, Y − black) · a
    red   = (luma + 1.596 · (V − 128)) rounded,   and so on, with the coefficients of ``COEFFICIENTS`` in 2^-20

BT.601 of limited range is what OpenCV's ``cvtColor`` computes, to the last bit; the others follow the same rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""(height, width, 3) uint8 BGR."""


class Colour(NamedTuple):
    """How numbers of a YUV frame become colours: ITU-R BT.601 or BT.709, and whether black is 0 and white 255."""

    matrix: str = "bt601"
    full_range: bool = False


class Coefficients(NamedTuple):
    """What a colour difference adds to each colour, in 2^-20 of a level, and the level of black."""

    luma: int
    red_v: int
    green_u: int
    green_v: int
    blue_u: int
    black: int


def _coefficients(luma: float, red: float, green_u: float, green_v: float, blue: float, black: int) -> Coefficients:
    one = 1 << 20
    return Coefficients(int(luma * one), int(red * one), int(green_u * one), int(green_v * one), int(blue * one), black)


BT601 = Colour()
"""What OpenCV and most USB cameras mean by YUV."""

# To three decimals, as OpenCV has them for BT.601; half a thousandth of 128 levels is a sixteenth of a level.
COEFFICIENTS: Mapping[Colour, Coefficients] = {
    BT601: _coefficients(1.164, 1.596, -0.391, -0.813, 2.018, 16),
    Colour("bt601", full_range=True): _coefficients(1.0, 1.402, -0.344, -0.714, 1.772, 0),
    Colour("bt709", full_range=False): _coefficients(1.164, 1.793, -0.213, -0.533, 2.112, 16),
    Colour("bt709", full_range=True): _coefficients(1.0, 1.575, -0.187, -0.468, 1.856, 0),
}


class Plane(NamedTuple):
    """A plane of a format: each ``columns`` × ``rows`` pixels have ``nbytes`` bytes in it."""

    nbytes: int
    columns: int = 1
    rows: int = 1


FORMATS: Mapping[str, tuple[Plane, ...]] = {
    "BGR": (Plane(3),),
    "BGRx": (Plane(4),),
    "GRAY8": (Plane(1),),
    "YUYV": (Plane(4, columns=2),),
    "NV12": (Plane(1), Plane(2, columns=2, rows=2)),
    "I420": (Plane(1), Plane(1, columns=2, rows=2), Plane(1, columns=2, rows=2)),
}
"""The planes of each format that a frame may have; its number for the kernel is its place here.

YUYV is Y0 U Y1 V (GStreamer's YUY2); NV12 has U and V in turn in its second plane, I420 U before V. Frames of odd size
end in half a block, which has the bytes of a whole one.
"""

YUV = frozenset({"YUYV", "NV12", "I420"})
"""Those whose numbers are brightness and colour differences."""


@dataclass(frozen=True)
class Layout:
    """How a frame lies in memory.

    Attributes:
        pixel_format: a key of ``FORMATS``.
        size: (height, width) in pixels.
        offsets: byte at which each plane begins.
        strides: bytes from one row of a plane to the next.
        colour: how its numbers become colours; without meaning for BGR, BGRx and grey.
    """

    pixel_format: str
    size: tuple[int, int]
    offsets: tuple[int, ...]
    strides: tuple[int, ...]
    colour: Colour = BT601

    @property
    def nbytes(self) -> int:
        """Number of bytes up to the last pixel's."""
        ends = zip(self.offsets, self.strides, _extents(self.pixel_format, self.size), strict=True)
        return max(offset + stride * (rows - 1) + row for offset, stride, (rows, row) in ends)

    def of_plane(self, memory: npt.NDArray[np.uint8], place: int) -> npt.NDArray[np.uint8]:
        """View a plane of a frame in memory, (blocks down, blocks across, bytes of a block)."""
        rows, row = _extents(self.pixel_format, self.size)[place]
        block = FORMATS[self.pixel_format][place].nbytes
        return np.lib.stride_tricks.as_strided(
            memory[self.offsets[place] :], (rows, row // block, block), (self.strides[place], block, 1)
        )


def packed(pixel_format: str, size: tuple[int, int], colour: Colour = BT601) -> Layout:
    """Lay out a frame without a gap between rows or planes."""
    extents = _extents(pixel_format, size)
    offsets = [0]
    for rows, row in extents[:-1]:
        offsets.append(offsets[-1] + rows * row)
    return Layout(pixel_format, size, tuple(offsets), tuple(row for _, row in extents), colour)


def _extents(pixel_format: str, size: tuple[int, int]) -> list[tuple[int, int]]:
    """List the number of rows, and the bytes of a row, of each plane."""
    height, width = size
    return [(-(-height // plane.rows), -(-width // plane.columns) * plane.nbytes) for plane in FORMATS[pixel_format]]


@dataclass(frozen=True, eq=False)
class RawFrame:
    """A frame in the form that its source gave it.

    Attributes:
        memory: (n,) uint8, at least ``layout.nbytes``; shared, so nobody may write to it.
        layout: how the frame lies in it.

    Raises:
        ValueError: the memory ends before the frame.
    """

    memory: npt.NDArray[np.uint8]
    layout: Layout

    def __post_init__(self) -> None:
        if self.memory.ndim != 1 or self.memory.dtype != np.uint8 or self.memory.size < self.layout.nbytes:
            raise ValueError(
                f"a {self.layout.pixel_format} frame of {self.layout.size} needs {self.layout.nbytes} bytes, "
                f"but got {self.memory.shape} {self.memory.dtype}"
            )


Pixels = Image | RawFrame
"""What sources give and detectors take: BGR, (height, width, 3), or a frame in another form."""


def size_of(pixels: Pixels) -> tuple[int, int]:
    """Return (height, width)."""
    return pixels.layout.size if isinstance(pixels, RawFrame) else (pixels.shape[0], pixels.shape[1])


def to_bgr(pixels: Pixels) -> Image:
    """Convert to (height, width, 3) uint8 BGR: the bits of ``to_bgr_in_integers``, by OpenCV where it can."""
    if not isinstance(pixels, RawFrame):
        return pixels
    layout = pixels.layout
    if layout.pixel_format not in YUV:
        return to_bgr_in_integers(pixels)
    quick = _BY_OPENCV[layout.pixel_format]
    if layout != packed(layout.pixel_format, layout.size) or layout.size[0] % 2 or layout.size[1] % 2:
        return _in_strips(pixels)
    code, shape = quick(*layout.size)
    return np.asarray(cv2.cvtColor(pixels.memory[: layout.nbytes].reshape(shape), code), np.uint8)


_BY_OPENCV: Mapping[str, Callable[[int, int], tuple[int, tuple[int, ...]]]] = {
    "NV12": lambda rows, columns: (cv2.COLOR_YUV2BGR_NV12, (rows * 3 // 2, columns)),
    "I420": lambda rows, columns: (cv2.COLOR_YUV2BGR_I420, (rows * 3 // 2, columns)),
    "YUYV": lambda rows, columns: (cv2.COLOR_YUV2BGR_YUYV, (rows, columns, 2)),
}


_STRIP = 64  # rows whose int32 sums stay in the processor's cache; an even number


def _in_strips(frame: RawFrame) -> Image:
    """Convert a frame of ``YUV`` with the sums of ``to_bgr_in_integers``, by tables and one strip after the other."""
    layout = frame.layout
    planes = [layout.of_plane(frame.memory, place) for place in range(len(layout.offsets))]
    (height, width), by = layout.size, COEFFICIENTS[layout.colour]
    levels = np.arange(256, dtype=np.int32)
    luma, chroma = np.maximum(levels - by.black, 0) * by.luma + (1 << 19), levels - 128
    rows = FORMATS[layout.pixel_format][-1].rows
    image = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        y, u, v = _channels(layout.pixel_format, planes, slice(top, bottom), slice(top // rows, -(-bottom // rows)))
        bright, green = cv2.LUT(y, luma), cv2.LUT(u, by.green_u * chroma) + cv2.LUT(v, by.green_v * chroma)
        channels = []
        for added in (cv2.LUT(u, by.blue_u * chroma), green, cv2.LUT(v, by.red_v * chroma)):
            doubled = np.asarray(cv2.merge([added, added]), np.int32).reshape(len(added), -1)  # each column twice
            total = doubled.repeat(rows, axis=0)[: len(bright), : bright.shape[1]]
            np.add(total, bright, out=total)
            np.right_shift(total, 20, out=total)
            channels.append(np.clip(total, 0, 255, out=total)[:, :width].astype(np.uint8))
        image[top:bottom] = cv2.merge(channels).reshape(bottom - top, width, 3)
    return image


def _channels(
    pixel_format: str, planes: list[npt.NDArray[np.uint8]], pixels: slice, blocks: slice
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Take luma and both colour differences of a strip, each (rows, columns), from rows of pixels and of blocks."""
    if pixel_format == "YUYV":
        left, u, right, v = cv2.split(planes[0][pixels])
        return np.asarray(cv2.merge([left, right]), np.uint8).reshape(len(left), -1), u, v
    if pixel_format == "NV12":
        u, v = cv2.split(planes[1][blocks])
        return planes[0][pixels, :, 0], u, v
    return planes[0][pixels, :, 0], planes[1][blocks, :, 0], planes[2][blocks, :, 0]


def to_bgr_in_integers(frame: RawFrame) -> Image:
    """Convert to (height, width, 3) uint8 BGR, in NumPy: the reference for the kernel, and for OpenCV."""
    layout = frame.layout
    planes = [layout.of_plane(frame.memory, place) for place in range(len(layout.offsets))]
    if layout.pixel_format in {"BGR", "BGRx"}:
        return np.ascontiguousarray(planes[0][..., :3])
    if layout.pixel_format == "GRAY8":
        return np.repeat(planes[0], 3, axis=2)
    height, width = layout.size
    if layout.pixel_format == "YUYV":
        luma = planes[0][..., ::2].reshape(height, -1)[:, :width]
        u, v, rows = planes[0][..., 1], planes[0][..., 3], 1
    else:
        luma, rows = planes[0][..., 0], 2
        u, v = np.moveaxis(planes[1], 2, 0) if layout.pixel_format == "NV12" else (planes[1][..., 0], planes[2][..., 0])
    by, blue, red = COEFFICIENTS[layout.colour], u.astype(np.int32) - 128, v.astype(np.int32) - 128
    bright = np.maximum(luma.astype(np.int32) - by.black, 0) * by.luma + (1 << 19)
    image = np.empty((height, width, 3), np.uint8)
    for channel, added in enumerate((by.blue_u * blue, by.green_u * blue + by.green_v * red, by.red_v * red)):
        of_pixels = added.repeat(rows, axis=0)[:height].repeat(2, axis=1)[:, :width]
        image[..., channel] = np.clip((bright + of_pixels) >> 20, 0, 255)
    return image
