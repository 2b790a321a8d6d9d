"""The ways to frames by name: what a user chooses by ``--capture``, and what opens a source that way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ssd_edge.choices import Choice
from ssd_edge.errors import SourceError

if TYPE_CHECKING:
    from ssd_edge.detector import Reader
    from ssd_edge.stream.camera_mode import CameraMode
    from ssd_edge.stream.cameras import Opener
    from ssd_edge.stream.frames import Source

DEFAULT_WAY = "auto"

WAYS: dict[str, Choice] = {
    "auto": Choice(
        "a Jetson's hardware where it decodes the source, else OpenCV or PyAV", "ssd_edge.stream.automatic:OPENS"
    ),
    "gstreamer": Choice("GStreamer, in hardware or software", "ssd_edge.stream.by_gstreamer:OPENS"),
    "opencv": Choice("cameras and pipelines by OpenCV", "ssd_edge.stream.by_opencv:OPENS"),
    "pyav": Choice("streams and video files by PyAV", "ssd_edge.stream.by_pyav:OPENS"),
}
"""The ways; each maps a kind of source to what opens it."""


def check_way(way: str, kind: str) -> None:
    """Check that there is such a way, and that it reads such sources.

    Args:
        way: a key of ``WAYS``.
        kind: ``camera``, ``stream``, ``pipeline``, ``file``, or a kind that is read in one way only.

    Raises:
        SourceError: there is not, or it does not.
    """
    if way not in WAYS:
        raise SourceError(f"--capture must be one of {', '.join(WAYS)}, but got {way!r}")
    if way == DEFAULT_WAY:
        return
    suitable = [name for name in WAYS if kind in _opens(name)]
    if way not in suitable:
        others = f"use {' or '.join(suitable)}" if suitable else "leave --capture out"
        raise SourceError(f"--capture {way} does not read this kind of source ({kind}): {others}")


def open_by(way: str, kind: str, what: str, mode: CameraMode, reader: Reader) -> Source:
    """Open a source in one way; see ``Opener``."""
    return _opens(way)[kind](what, mode, reader)


def _opens(way: str) -> Mapping[str, Opener]:
    opens: Mapping[str, Opener] = WAYS[way].load()
    return opens
