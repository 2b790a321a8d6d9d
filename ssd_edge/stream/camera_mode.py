"""What a user asks of a camera: size, frame rate and format, checked against what the camera lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from ssd_edge.errors import SourceError

if TYPE_CHECKING:
    from ssd_edge.machine.cameras import Sizes


class CameraFormat(NamedTuple):
    """A format in which cameras give frames, in the words of V4L2 and of GStreamer."""

    fourcc: str
    caps: str


CAMERA_FORMATS: Mapping[str, CameraFormat] = {
    "mjpg": CameraFormat("MJPG", "image/jpeg"),
    "nv12": CameraFormat("NV12", "video/x-raw,format=NV12"),
    "yuyv": CameraFormat("YUYV", "video/x-raw,format=YUY2"),
    "uyvy": CameraFormat("UYVY", "video/x-raw,format=UYVY"),
    "grey": CameraFormat("GREY", "video/x-raw,format=GRAY8"),
}
"""Formats that a user may ask for, by name."""

_LARGEST = 16384  # pixels of a side


@dataclass(frozen=True)
class CameraMode:
    """Size, frame rate and format; the camera chooses what is None.

    Attributes:
        size: (width, height).
        fps: frames per second.
        pixel_format: a key of ``CAMERA_FORMATS``.
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str | None = None

    def __str__(self) -> str:
        """Write it for people, as in "MJPG 1280×720 at 30 FPS"; empty if nothing is asked for."""
        parts = [] if self.pixel_format is None else [CAMERA_FORMATS[self.pixel_format].fourcc]
        parts += [] if self.size is None else ["×".join(map(str, self.size))]
        parts += [] if self.fps is None else [f"at {self.fps:g} FPS"]
        return " ".join(parts)

    @property
    def caps(self) -> str:
        """The caps of GStreamer's ``v4l2src`` that ask for it; empty if nothing is asked for."""
        from fractions import Fraction  # late, since help texts are made of this module

        if self == CameraMode():
            return ""
        parts = [CAMERA_FORMATS[self.pixel_format].caps if self.pixel_format else "video/x-raw"]
        parts += [] if self.size is None else [f"width={self.size[0]}", f"height={self.size[1]}"]
        rate = Fraction(self.fps or 0).limit_denominator(1001)
        parts += [f"framerate={rate.numerator}/{rate.denominator}"] if rate else []
        return ",".join(parts)


def parsed_mode(size: str | None, fps: float | None, pixel_format: str | None) -> CameraMode:
    """Read what a user typed, such as ``1280x720`` and ``mjpg``.

    Raises:
        SourceError: the size or the format is malformed.
    """
    if pixel_format is not None and pixel_format.lower() not in CAMERA_FORMATS:
        raise SourceError(f"a camera's format must be one of {', '.join(CAMERA_FORMATS)}, but got {pixel_format!r}")
    if size is None:
        return CameraMode(None, fps, pixel_format and pixel_format.lower())
    match = re.fullmatch(r"\s*(\d{1,5})\s*[x×]\s*(\d{1,5})\s*", size, re.IGNORECASE)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(1 <= side <= _LARGEST for side in sides):
        raise SourceError(f"a size must be WIDTHxHEIGHT in pixels, such as 1280x720, but got {size!r}")
    return CameraMode(sides, fps, pixel_format and pixel_format.lower())


def suited_mode(mode: CameraMode, name: str, formats: Mapping[str, Sizes]) -> CameraMode:
    """Check a mode against a camera's list, and choose the format where only a size is asked for.

    MJPG comes first, since above VGA, USB 2 is too slow for uncompressed frames at full rate.

    Args:
        mode: what is asked for.
        name: the camera's name for people.
        formats: what the camera lists, by V4L2's name; empty if it lists nothing, and all is then left to the driver.

    Raises:
        SourceError: the camera has no such format or size; the sentence lists those it has.
    """
    if mode.pixel_format is not None:
        fourcc = CAMERA_FORMATS[mode.pixel_format].fourcc
        if formats and fourcc not in formats:
            raise SourceError(f"{name} gives no {fourcc}: it has {', '.join(formats)}")
        if formats and mode.size is not None and mode.size not in formats[fourcc]:
            raise SourceError(f"{name} gives no {replace(mode, fps=None)}: it has {formats[fourcc]}")
        return mode
    if mode.size is None:
        return mode
    fitting = {kind for kind, sizes in formats.items() if mode.size in sizes}
    if formats and not fitting:
        listed = "; ".join(f"{kind} {sizes}" for kind, sizes in formats.items())
        raise SourceError(f"{name} gives no {replace(mode, fps=None)}: it has {listed}")
    suitable = (key for key, one in CAMERA_FORMATS.items() if not formats or one.fourcc in fitting)
    return replace(mode, pixel_format=next(suitable, None))
