"""The file of a section: records one after the other, each with its length and checksum, so that any beginning of the
file can be read.

    bytes  8     MAGIC
    then for each record
           4     length of the content, little-endian
           4     CRC-32 of the content
           …     content: MessagePack of a ``Head`` (the first record) or a ``Shot``
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from ssd_edge.errors import RecordingError
from ssd_edge.replay.schema import VERSION, Head, Shot

MAGIC = b"SSDEREC\n"
SUFFIX = ".ssdrec"

_FRAME = struct.Struct("<II")
_ENCODER = msgspec.msgpack.Encoder()
_HEAD, _SHOT = msgspec.msgpack.Decoder(Head), msgspec.msgpack.Decoder(Shot)


def packed(record: Head | Shot) -> bytes:
    """Write a record, with its length and checksum."""
    content = _ENCODER.encode(record)
    return _FRAME.pack(len(content), zlib.crc32(content)) + content


class Placed(NamedTuple):
    """A frame, and where its record begins in its section, in bytes."""

    shot: Shot
    offset: int


class Section:
    """A section of a recording; its head is read at once, its frames when they are asked for.

    Args:
        path: the file.

    Attributes:
        head: how it was recorded.
        fault: what of it cannot be read, as a sentence; known after ``shots``, and empty if nothing is wrong.

    Raises:
        RecordingError: it has no whole head, or one of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.fault = path, ""
        try:
            with path.open("rb") as file:
                magic, content = file.read(len(MAGIC)), _next(file, path.stat().st_size)
        except OSError as error:
            raise RecordingError(f"cannot read {path}: {error.strerror or error}") from None
        if magic != MAGIC[: len(magic)]:
            raise RecordingError(f"{path} is no recording of ssd-edge run --record")
        if len(magic) < len(MAGIC) or not content:
            raise RecordingError(f"{path} was cut off in its head, before the first frame: nothing of it can be used")
        self.head = _head(path, content)
        self._first = len(MAGIC) + _FRAME.size + len(content)

    def shots(self) -> Iterator[Placed]:
        """Go through the frames in order, as far as they can be read; a damaged one is left out.

        Raises:
            RecordingError: the file cannot be read any more.
        """
        damaged, offset = 0, self._first
        try:
            with self.path.open("rb") as file:
                size = self.path.stat().st_size
                file.seek(offset)
                while offset < size:
                    content = _next(file, size)
                    if content is None:
                        self.fault = f"{self.path.name} was cut off: its last {size - offset} bytes are no whole frame"
                        break
                    try:
                        shot = _SHOT.decode(content) if content else None
                    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                        shot = None
                    if shot is None:
                        damaged += 1
                    else:
                        yield Placed(shot, offset)
                    offset = file.tell()
        except OSError as error:
            raise RecordingError(f"cannot read {self.path}: {error.strerror or error}") from None
        if damaged:
            also = f"; {self.fault}" if self.fault else ""
            self.fault = f"{self.path.name} is damaged: {damaged} of its frames cannot be read{also}"

    def shot_at(self, offset: int) -> Shot:
        """Read one frame again.

        Raises:
            RecordingError: it cannot be read any more.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return _SHOT.decode(_next(file, self.path.stat().st_size) or b"")
        except (OSError, msgspec.MsgspecError):
            raise RecordingError(f"{self.path} has changed while it was read") from None


def _head(path: Path, content: bytes) -> Head:
    try:
        version = msgspec.msgpack.decode(content, type=dict).get("version")
        if version != VERSION:
            raise RecordingError(
                f"{path} is a recording of version {version!r:.20}, and this ssd-edge reads version {VERSION}: replay "
                "it with the ssd-edge that recorded it"
            )
        return _HEAD.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingError(f"{path} has a head that ssd-edge did not write: {error}") from None


def _next(file: BinaryIO, size: int) -> bytes | None:
    """Read the next record's content; None if the file ends before, and empty if its checksum is wrong."""
    frame = file.read(_FRAME.size)
    if len(frame) < _FRAME.size:
        return None
    length, checksum = _FRAME.unpack(frame)
    if length == 0 or length > size - file.tell():
        return None
    content = file.read(length)
    return content if zlib.crc32(content) == checksum else b""
