"""Read a JPEG's segments (ITU-T T.81, annex B), and tell whether its data are all there.

Libjpeg fills what is missing with grey and reports success, even if half of the data is followed by an end marker.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # not a stuffed zero, nor a restart marker within a scan
_NEVER = 99
_START, _END, _SCAN, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})


class Jpeg(NamedTuple):
    """What a JPEG's segments say.

    Attributes:
        width: width in pixels, as stored.
        height: height in pixels, as stored.
        progressive: whether the picture comes in passes, so that a missing part is no grey area but a coarser picture.
        exif: the EXIF block, from ``Exif`` on; b"" if there is none.
        all_passes: whether each component has all its coefficients with all their bits.
        end: where the end marker begins, or None if there is none; bytes may follow it.
    """

    width: int
    height: int
    progressive: bool
    all_passes: bool
    exif: bytes
    end: int | None


def read_segments(data: bytes) -> Jpeg | None:
    """Read the segments up to the end marker; None if there is no frame, and so no picture."""
    at, exif, frame = 2, b"", None
    passes: dict[int, list[int]] = {}  # by component: the lowest bit seen of each of 64 coefficients
    while marker := _MARKER.search(data, at):
        kind, at = marker[1][0], marker.end()
        if kind == _END:
            return _with_passes(frame, passes)._replace(exif=exif, end=marker.start()) if frame else None
        if kind in (_START, 0x01):
            continue
        body = data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")]
        at += 2 + len(body)
        if kind == _APP1 and body.startswith(b"Exif") and not exif:
            exif = body
        elif kind in _FRAMES and len(body) >= 5 and frame is None:
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            frame = Jpeg(width, height, kind in _PROGRESSIVE, False, b"", None)
            passes = {component: [_NEVER] * 64 for component in body[6::3]}
        elif kind == _SCAN and len(body) >= 4:
            _note_pass(passes, body)
    return _with_passes(frame, passes)._replace(exif=exif) if frame else None


def _note_pass(passes: dict[int, list[int]], scan: bytes) -> None:
    """Note which coefficients a scan has, down to which bit, from its header (T.81, B.2.3)."""
    first, last, lowest = scan[-3], min(scan[-2], 63), scan[-1] & 15
    for component in scan[1:-3:2]:
        if component in passes:
            passes[component][first : last + 1] = [lowest] * (last + 1 - first)


def _with_passes(frame: Jpeg, passes: dict[int, list[int]]) -> Jpeg:
    return frame._replace(all_passes=all(bit == 0 for bits in passes.values() for bit in bits))


def is_whole(data: bytes) -> bool:
    """Tell whether no data are missing before the end marker; True if FFmpeg's decoder, which counts bits, cannot tell.

    Args:
        data: a JPEG up to and with its end marker.
    """
    import av

    context = av.CodecContext.create("mjpeg", "r")
    context.options = {"err_detect": "explode"}
    try:
        context.decode(av.Packet(data))
    except av.error.InvalidDataError:
        return False
    except av.error.FFmpegError:  # a kind of JPEG that FFmpeg lacks
        return True
    return True
