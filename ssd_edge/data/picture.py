"""Decode a picture, in one way for everything: the pixels are counted before, and turned upright once after.

Every OpenCV from 4.10 on gives the same pixels, as far as its codecs do: EXIF is read here, not by OpenCV.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ssd_edge.data import exif
from ssd_edge.data.header import Header, PictureError, read_header
from ssd_edge.data.jpeg import Jpeg, is_whole
from ssd_edge.errors import DataError

_MAX_PIXELS, _BITS = "SSD_EDGE_MAX_PIXELS", "SSD_EDGE_IMAGE_BITS"
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


@dataclass(frozen=True)
class Decoding:
    """How pictures are decoded.

    Attributes:
        max_pixels: number of pixels above which a picture is not decoded. A file of a few kilobytes can declare more
            than fit into memory.
        bits: number of bits of each value in a 16-bit picture: 12 turns 4095 into 255, 16 turns 65535 into 255.
    """

    max_pixels: int = 1 << 27
    bits: int = 16

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise DataError(f"the largest number of pixels should be 1 or more, but is {self.max_pixels}")
        if not 8 <= self.bits <= 16:
            raise DataError(f"the bits of a 16-bit picture should be 8 to 16, but are {self.bits}")

    def choose(self) -> None:
        """Choose this for every picture that this process, and those that it starts, read from now on."""
        os.environ[_MAX_PIXELS], os.environ[_BITS] = str(self.max_pixels), str(self.bits)

    @classmethod
    def chosen(cls) -> Decoding:
        """Return what was chosen, by ``choose`` or in the environment.

        Raises:
            DataError: an environment variable is not a number in range.
        """
        return cls(_whole_number(_MAX_PIXELS, cls.max_pixels), _whole_number(_BITS, cls.bits))


def _whole_number(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    try:
        return int(text) if text else default
    except ValueError:
        raise DataError(f"the environment variable {name} should be a whole number, but is {text!r}") from None


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        image: (height, width, 3) uint8 BGR, upright.
        header: what its header says.
        largest: the largest value of a 16-bit picture; None for 8 bits.
        data: the file's bytes.
    """

    image: npt.NDArray[np.uint8]
    header: Header
    largest: int | None
    data: bytes


def read_picture(path: Path, decoding: Decoding | None = None) -> Picture:
    """Read an image file: grey becomes BGR, alpha is dropped, 16 bits become 8, EXIF orientation is applied.

    Args:
        path: a JPEG, PNG, BMP, TIFF or WebP file.
        decoding: limits; by default those chosen for the process.

    Raises:
        DataError: the file is missing, truncated or not an image, or has too many pixels.
    """
    data = _read_bytes(path)
    try:
        return decode_picture(data, decoding)
    except PictureError as error:
        raise DataError(f"cannot read image {path}: it {error}") from None


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height as ``read_picture`` gives them, from the header alone.

    Raises:
        DataError: the file is missing or not an image.
    """
    try:
        return read_header(_read_bytes(path)).size
    except PictureError as error:
        raise DataError(f"cannot read image {path}: it {error}") from None


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read image {path}: {error.strerror}") from None


def decode_picture(data: bytes, decoding: Decoding | None = None) -> Picture:
    """Decode an image file's bytes; arguments and result as in ``read_picture``.

    Raises:
        PictureError: they are truncated or no image, or have too many pixels.
    """
    decoding = decoding or Decoding.chosen()
    header = read_header(data)
    if header.width * header.height > decoding.max_pixels:
        raise PictureError(
            f"declares {header.width}×{header.height} pixels, more than the {decoding.max_pixels} that are decoded; "
            f"if the file is sound, raise the limit: ssd-edge --max-pixels {header.width * header.height} …"
        )
    end = header.jpeg.end if header.jpeg else None
    whole = data if end is None else data[:end]
    stored = _decoded(_with_end_marker(whole) if header.jpeg else _upright_tiff(data, header))
    if stored is None or stored.shape[:2] != (header.height, header.width):
        raise PictureError(f"is truncated, damaged, or a kind of {header.format} that OpenCV cannot decode")
    if header.jpeg and not (header.jpeg.all_passes and _is_whole(stored, header.jpeg, _with_end_marker(whole))):
        raise PictureError("is truncated: a part of the JPEG's data is missing")
    image, largest = _eight_bits(stored, decoding.bits)
    return Picture(_turned(image, header.orientation), header, largest, data)


def _decoded(data: bytes) -> npt.NDArray[np.generic] | None:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image)


def _with_end_marker(data: bytes) -> bytes:
    """Return a JPEG's bytes with an end marker behind them."""
    return data.rstrip(b"\xff") + b"\xff\xd9"


def _upright_tiff(data: bytes, header: Header) -> bytes:
    """Return a TIFF's bytes without its orientation, since OpenCV turns TIFF whatever it is told; others unchanged."""
    if header.format != "TIFF" or header.orientation == 1:
        return data
    tag = exif.tags(data)[exif.ORIENTATION]
    changed = bytearray(data)
    struct.pack_into(tag.form, changed, tag.offset, 1)
    return bytes(changed)


def _is_whole(stored: npt.NDArray[np.generic], jpeg: Jpeg, data: bytes) -> bool:
    """Tell whether a JPEG's data are all there; decode again only if it comes in passes or its last corner is plain.

    Libjpeg fills missing blocks with grey.
    """
    corner = stored[-4:, -4:].reshape(-1, 3)
    suspicious = jpeg.end is None or jpeg.progressive or bool((corner == corner[0]).all())
    return not suspicious or is_whole(data)


def _eight_bits(stored: npt.NDArray[np.generic], bits: int) -> tuple[npt.NDArray[np.uint8], int | None]:
    """Return values of 0..255 from 8-bit or 16-bit ones, and the largest 16-bit value."""
    if stored.dtype == np.uint8:
        return np.asarray(stored, np.uint8), None
    if stored.dtype != np.uint16:
        raise PictureError(f"holds values of type {stored.dtype}: save it with 8 or 16 bits a value")
    largest = int(stored.max())
    if largest >> bits:
        raise PictureError(f"holds the value {largest}, which has more than the {bits} bits that were asked for")
    return (np.asarray(stored, np.uint16) >> (bits - 8)).astype(np.uint8), largest


def _turned(image: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Turn and mirror a stored picture so that it is upright, by EXIF's orientation 1..8."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    rows, columns = _MIRRORED[orientation]
    return np.ascontiguousarray(image[::rows, ::columns])


_MIRRORED = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
"""Steps along y and x, after rows and columns are exchanged for 5 to 8."""


def turned_boxes(boxes: npt.NDArray[np.float32], header: Header) -> npt.NDArray[np.float32]:
    """Turn boxes (N, 4) x1, y1, x2, y2 from the stored picture's pixels into the upright one's."""
    if header.orientation >= 5:
        boxes = boxes[:, [1, 0, 3, 2]]
    width, height = header.size
    rows, columns = _MIRRORED[header.orientation]
    x1, y1, x2, y2 = boxes.T
    if columns < 0:
        x1, x2 = width - x2, width - x1
    if rows < 0:
        y1, y2 = height - y2, height - y1
    return np.stack([x1, y1, x2, y2], axis=1).astype(np.float32)
