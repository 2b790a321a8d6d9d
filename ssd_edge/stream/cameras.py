"""What all ways to a camera, stream or pipeline share: checks before it is opened, and sentences if it is lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from ssd_edge.detector import Reader
from ssd_edge.errors import SourceError
from ssd_edge.machine.cameras import listed_formats, video_devices
from ssd_edge.machine.host import this_host
from ssd_edge.stream.addresses import shown, without_secrets
from ssd_edge.stream.camera_mode import CameraMode, suited_mode
from ssd_edge.stream.frames import Source

Opener = Callable[[str, CameraMode, Reader], Source]
"""Function that opens a source from a camera's number, an address, a pipeline or a file's path; the mode is for cameras
only, and the reader is who reads the frames."""


def checked(number: str, mode: CameraMode) -> CameraMode:
    """Check that there is a camera of this number that this user may use, and that it has the mode.

    Returns:
        The mode, with a format where only a size was asked for.

    Raises:
        SourceError: there is none, or it has no such mode; the sentence lists what there is.
    """
    host = this_host()
    devices = video_devices(host)
    if sys.platform.startswith("linux") and f"video{number}" not in devices:
        raise SourceError(f"there is no camera {number}: {_hint(devices)}")
    if refused := _refused(number):
        raise SourceError(refused)
    if mode == CameraMode():
        return mode
    return suited_mode(mode, f"camera {number}", listed_formats(host, f"video{number}"))


def name_of(number: str, mode: CameraMode) -> str:
    """Return a camera's name for people, with what it was asked for."""
    return f"camera {number}, {mode}" if str(mode) else f"camera {number}"


def no_frames_of(number: str) -> str:
    """Return the sentence on a camera that gives no frames; it lists the existing cameras."""
    hint = _hint(video_devices(this_host()))
    return f"camera {number} gives no frames: is it connected, and not in use elsewhere? ({hint})"


def no_frames_from(address: str) -> str:
    """Return the sentence on a network stream that gives no frames."""
    return f"no frames come from {shown(address)}: check the address, the user name and that the camera can be reached"


def no_frames_through(pipeline: str) -> str:
    """Return the sentence on a pipeline that gives no frames."""
    return f"the GStreamer pipeline gives no frames; try it with gst-launch-1.0: {without_secrets(pipeline)}"


def _hint(devices: list[str]) -> str:
    return (
        f"there are {', '.join(f'/dev/{name}' for name in devices)}" if devices else "plug one in, or try 'synthetic'"
    )


def _refused(number: str) -> str:
    """Say why this user may not use a camera; empty where the user may."""
    device = Path(f"/dev/video{number}")
    if not device.exists() or os.access(device, os.R_OK | os.W_OK):
        return ""
    try:
        group = device.group()
    except (KeyError, OSError):
        group = "video"
    return (
        f"this user may not use {device}: add the user to its group (sudo usermod -aG {group} $USER) and log in again"
    )
