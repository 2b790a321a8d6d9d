"""Options of the commands that record: what is written where, in which pieces, and how much room it may take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.errors import SinkError
from ssd_edge.outputs.catalogue import SINKS
from ssd_edge.parsing import parse_bytes, parse_duration

if TYPE_CHECKING:
    from ssd_edge.outputs.rules import Rules

SaveVideo = Annotated[Path | None, typer.Option("--save-video", help=SINKS["video"].about)]
SaveImages = Annotated[Path | None, typer.Option("--save-images", help=SINKS["images"].about)]
SaveJson = Annotated[Path | None, typer.Option("--save-json", help=SINKS["json"].about)]
SaveClips = Annotated[Path | None, typer.Option("--save-clips", metavar="FOLDER", help=SINKS["clips"].about)]
ClipBefore = Annotated[
    str, typer.Option("--clip-before", metavar="TIME", help="How much a clip shows before its first event.")
]
ClipAfter = Annotated[
    str, typer.Option("--clip-after", metavar="TIME", help="How much a clip shows after its last event.")
]
ShowWindow = Annotated[
    bool | None,
    typer.Option(
        "--window/--no-window",
        help=f"{SINKS['window'].about} The default if there is a display and no --save option.",
    ),
]
RotateSize = Annotated[
    str | None,
    typer.Option(
        "--rotate-size",
        metavar="SIZE",
        help="Begin a new file of --save-video and --save-json at this size, such as 500MB.",
    ),
]
RotateEvery = Annotated[
    str | None,
    typer.Option(
        "--rotate-every",
        metavar="TIME",
        help="Begin a new file of --save-video and --save-json after this time, such as 10m.",
    ),
]
DiskQuota = Annotated[
    str | None,
    typer.Option(
        "--disk-quota",
        metavar="SIZE",
        help="Most room for recordings, such as 10GB: the oldest are removed. Rotates by itself.",
    ),
]
DiskFloor = Annotated[
    str | None,
    typer.Option(
        "--disk-floor",
        metavar="SIZE",
        help="Room to leave free on the disk: the oldest recordings are removed, then recording stops until there is "
        "room, but not detecting. If not given, nothing is removed and recording stops at 1GB, or 5 % of a small disk.",
    ),
]


Pair = tuple[str | None, str | None]


def read_rules(rotate: Pair, disk: Pair, clip: Pair, say: Callable[[str], None]) -> Rules:
    """Read the options on how to record.

    Args:
        rotate: ``--rotate-size`` and ``--rotate-every``.
        disk: ``--disk-quota`` and ``--disk-floor``.
        clip: ``--clip-before`` and ``--clip-after``.
        say: takes a line when recordings are removed for the first time.

    Raises:
        SinkError: one of them is not what it should be, or they contradict each other.
    """
    from ssd_edge.outputs.limits import Limit
    from ssd_edge.outputs.rules import Rules, pieces_within
    from ssd_edge.outputs.space import Space

    limit = Limit(
        _read(parse_bytes, "--rotate-size", rotate[0]) or None, _read(parse_duration, "--rotate-every", rotate[1])
    )
    quota, floor = _read(parse_bytes, "--disk-quota", disk[0]) or None, _read(parse_bytes, "--disk-floor", disk[1])
    before, after = _read(parse_duration, "--clip-before", clip[0]), _read(parse_duration, "--clip-after", clip[1])
    return Rules(pieces_within(quota, limit), before, after, Space(quota, floor, say))


def _read(read: Callable[[str], Any], option: str, text: str | None) -> Any:
    try:
        return None if text is None else read(text)
    except ValueError as error:
        raise SinkError(f"{option}: {error}") from None
