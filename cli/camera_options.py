"""Options of the commands that read a camera: what is asked of it, and which library reads it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.choices import help_of
from ssd_edge.errors import SourceError
from ssd_edge.parsing import parse_duration
from ssd_edge.stream.camera_mode import CAMERA_FORMATS
from ssd_edge.stream.ways import DEFAULT_WAY, WAYS

PLACE = "{camera}"
"""Stands for the camera's name in a path."""

Size = Annotated[
    str | None,
    typer.Option("--size", metavar="WIDTHxHEIGHT", help="Frame size to ask the camera for, such as 1280x720."),
]
Fps = Annotated[
    float | None, typer.Option("--fps", min=0.1, max=1000, help="Frame rate to ask the camera for, such as 30.")
]
PixelFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"Format to ask the camera for: {', '.join(CAMERA_FORMATS)}. By default, mjpg where --size is given "
        "and the camera has it.",
    ),
]
Capture = Annotated[str, typer.Option("--capture", help=f"How the source is read: {help_of(WAYS, DEFAULT_WAY)}.")]
Buffer = Annotated[
    str,
    typer.Option(
        "--buffer",
        metavar="newest|drop-oldest:N|every",
        help="Frames that wait for the engine: only the newest; a queue of N whose oldest is dropped; or each one, "
        "for which the source waits.",
    ),
]
MaxAge = Annotated[
    str | None,
    typer.Option(
        "--max-age",
        metavar="TIME",
        help="Drop and count a camera's frames that are older than this before they are processed, such as 100ms.",
    ),
]


class Degrade(str, Enum):
    """What the loop may do while the machine is slowed down, or frames come too late."""

    OFF = "off"
    SKIP = "skip"
    ENGINE = "engine"


DegradeOption = Annotated[
    Degrade,
    typer.Option(
        "--degrade",
        help="What a live camera may lose while heat or current slows the machine down, or --max-age is missed: "
        "nothing (off), frames (skip: one of 2, then one of 3, is processed), or frames and then accuracy (engine: the "
        "smaller engine takes over). Each step is said, and undone when that is over.",
    ),
]
Fallback = Annotated[
    Path | None,
    typer.Option(
        "--fallback",
        metavar="NAME.engine",
        help="The smaller engine of --degrade engine, with the same labels. By default a plan in fewer bits of the "
        "same bundle.",
    ),
]


def seconds_of(option: str, text: str | None) -> float | None:
    """Read the duration that an option was given, in seconds; None if it was not given.

    Raises:
        SourceError: it is not a duration.
    """
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise SourceError(f"{option}: {error}") from None
