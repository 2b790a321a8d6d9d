"""Read from a picture's first bytes what it is: format, size and orientation, before anything is decoded."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ssd_edge.data import exif
from ssd_edge.data.jpeg import Jpeg, read_segments


class PictureError(ValueError):
    """A file that is no picture which can be used; ``str(error)`` says why, and continues "it …"."""


@dataclass(frozen=True)
class Header:
    """What a picture's header says.

    Attributes:
        format: ``JPEG``, ``PNG``, ``BMP``, ``TIFF`` or ``WebP``.
        width: width in pixels, as stored.
        height: height in pixels, as stored.
        orientation: EXIF's number 1..8: how the stored picture is turned or mirrored to be upright; 1 for not at all.
        jpeg: the segments of a JPEG.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    jpeg: Jpeg | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(data: bytes) -> Header:
    """Read the header of a picture.

    Raises:
        PictureError: the bytes are no picture of a known format, or end within the header.
    """
    for name, (matches, read) in _FORMATS.items():
        if matches(data):
            header = read(data)
            if header is None or header.width < 1 or header.height < 1:
                raise PictureError(f"is truncated or damaged: its {name} header gives no size")
            return header
    raise PictureError(_what_else(data))


def _jpeg(data: bytes) -> Header | None:
    segments = read_segments(data)
    return segments and Header("JPEG", segments.width, segments.height, exif.orientation(segments.exif), segments)


def _png(data: bytes) -> Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    block = b""
    for kind, body in _chunks(data, 8, "big", length_first=True):
        if kind == b"eXIf":
            block = body
            break
        if kind in (b"zTXt", b"tEXt", b"iTXt") and not block:
            block = _raw_profile(kind, body)
    return Header("PNG", width, height, exif.orientation(block))


def _raw_profile(kind: bytes, body: bytes) -> bytes:
    """Read EXIF as ImageMagick writes it: hexadecimal text under "Raw profile type exif", compressed or not."""
    keyword, _, rest = body.partition(b"\0")
    if keyword not in (b"Raw profile type exif", b"Raw profile type APP1"):
        return b""
    try:
        text = zlib.decompressobj().decompress(rest[1:], 1 << 20) if kind == b"zTXt" else rest
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))  # after a name and a length
    except (zlib.error, ValueError):
        return b""


def _webp(data: bytes) -> Header | None:
    size: tuple[int, int] | None = None
    block = b""
    for kind, body in _chunks(data, 12, "little", length_first=False):
        if kind == b"EXIF" and not block:
            block = body
        elif size is None:
            size = _webp_size(kind, body)
    return Header("WebP", *size, exif.orientation(block)) if size else None


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int] | None:
    """Read the size in a chunk: of the canvas, of a lossless or of a lossy picture (RFC 9649, 2.5 to 2.7)."""
    if kind == b"VP8X" and len(body) >= 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(body) >= 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None


def _chunks(data: bytes, at: int, order: str, length_first: bool) -> Iterator[tuple[bytes, bytes]]:
    """Walk over the chunks of a PNG (length, kind, body, checksum) or of a RIFF file (kind, length, body, padding)."""
    big = order == "big"
    while at + 8 <= len(data):
        first, second = data[at : at + 4], data[at + 4 : at + 8]
        kind, length = (second, first) if length_first else (first, second)
        number = int.from_bytes(length, "big" if big else "little")
        yield kind, data[at + 8 : at + 8 + number]
        at += 8 + number + (4 if big else number % 2)


def _tiff(data: bytes) -> Header | None:
    entries = exif.tags(data)
    if exif.WIDTH not in entries or exif.HEIGHT not in entries:
        return None
    return Header("TIFF", entries[exif.WIDTH].value, entries[exif.HEIGHT].value, exif.orientation(data))


def _bmp(data: bytes) -> Header | None:
    if int.from_bytes(data[14:18], "little") == 12:  # OS/2
        return Header("BMP", int.from_bytes(data[18:20], "little"), int.from_bytes(data[20:22], "little"))
    width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
    return Header("BMP", width, abs(height))  # negative: the first row is the upper one


_FORMATS: dict[str, tuple[Callable[[bytes], bool], Callable[[bytes], Header | None]]] = {
    "JPEG": (lambda data: data[:2] == b"\xff\xd8", _jpeg),
    "PNG": (lambda data: data[:8] == b"\x89PNG\r\n\x1a\n", _png),
    "WebP": (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    "TIFF": (lambda data: data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    "BMP": (lambda data: data[:2] == b"BM", _bmp),
}

_OTHERS = {
    b"GIF8": "GIF",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"v/1\x01": "OpenEXR",
}


def _what_else(data: bytes) -> str:
    """Say what bytes are that are none of the known formats."""
    if not data:
        return "is an empty file"
    if data.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the picture itself: run git lfs pull"
    if data[4:8] == b"ftyp":
        brand = "AVIF" if data[8:12] in (b"avif", b"avis") else "HEIC"
    else:
        brand = next((name for start, name in _OTHERS.items() if data.startswith(start)), "")
    if brand:
        return f"is {brand}, whatever its name says: convert it to one of {', '.join(_FORMATS)}"
    return f"is truncated or not an image: its first bytes are none of {', '.join(_FORMATS)}"
