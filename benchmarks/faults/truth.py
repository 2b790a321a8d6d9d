"""What was really shown: each picture shows the time at which it was drawn, which is compared with what was told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import monotonic

import av
import cv2

from tests.stream.coded import drawn_at

LIE = 0.25
"""Seconds by which a frame may be older than its told time says, against the frames before the fault."""

OLD = 1.5
"""Seconds that a frame may be old when it is shown: held ones pass up to a second, and the rest is the machine's."""

_CUT = 3  # last packets of a recording that may be cut, with the empty one at its end
_WARM = 10  # first frames, which tell nothing of the usual delay


@dataclass(frozen=True)
class Shown:
    """A frame that ``ssd-edge run`` gave out.

    Attributes:
        at: when its JSON line came.
        told: its time as the JSON line tells it, in seconds since an unknown moment.
        drawn: when its picture was drawn; None if the picture is garbled.
    """

    at: float
    told: float
    drawn: float | None


def shown_frames(lines: Sequence[tuple[float, dict[str, object]]], images: Path) -> list[Shown]:
    """Join JSON lines with the pictures that were written of the same frames."""
    now, shown = monotonic(), []
    for at, line in lines:
        picture = cv2.imread(str(images / f"{line['index']:06}.jpg"))
        if picture is not None:
            shown.append(Shown(at, float(str(line["time"])), drawn_at(picture, now)))
    return shown


def what_is_wrong(shown: Sequence[Shown], began: float, in_hand: int = 0) -> list[str]:
    """Say which frames are old, garbled, repeated or backward, or told as younger than they are.

    Args:
        shown: frames in the order in which they came.
        began: when the fault began.
        in_hand: number of frames that may be old, where the program itself was stopped while it had them.
    """
    wrong, whole = [], [one for one in shown if one.drawn is not None]
    if len(whole) < len(shown):
        wrong.append(f"{len(shown) - len(whole)} garbled pictures were shown")
    times = [one.drawn for one in whole if one.drawn is not None]
    if any(after <= before for before, after in pairwise(times)):
        wrong.append("a picture was shown twice, or after a later one")
    usual = [one.told - one.drawn for one in whole[_WARM:] if one.drawn is not None and one.at < began]
    if not usual:
        return [*wrong, "no frame came before the fault"]
    lies = [one for one in whole if one.drawn is not None and median(usual) - (one.told - one.drawn) < -LIE]
    if lies:
        wrong.append(f"{len(lies)} old frames were told as new")
    ages = [one.at - one.drawn for one in whole[_WARM:] if one.drawn is not None]
    if (number := sum(age > OLD for age in ages)) > in_hand:
        wrong.append(f"{number} frames were up to {max(ages):.1f} s old when they were shown")
    return wrong


def recovery(shown: Sequence[Shown], ended: float) -> float | None:
    """Return the seconds from the end of a fault to the first whole frame that was drawn after it."""
    after = [one.at for one in shown if one.drawn is not None and one.drawn >= ended]
    return min(after) - ended if after else None


def lost(shown: Sequence[Shown], began: float, until: float, fps: float) -> int:
    """Count the frames that a source of this rate draws in a span of time and that were not shown."""
    there = sum(1 for one in shown if one.drawn is not None and began <= one.drawn <= until)
    return max(0, round((until - began) * fps) - there)


def unreadable(videos: Sequence[Path]) -> list[str]:
    """Decode recordings to their ends; say which cannot be. The last frames may be cut, as by a disk that is full."""
    wrong = []
    for video in videos:
        by_packet = _frames_by_packet(video)
        if not any(number > 0 for number in by_packet):
            wrong.append(f"{video.name} of {video.stat().st_size} bytes cannot be read")
        elif -1 in by_packet[:-_CUT]:
            wrong.append(f"{video.name} is damaged")
    return wrong


def frames_in(videos: Sequence[Path]) -> int:
    """Count the frames of recordings that can be decoded."""
    return sum(max(0, number) for video in videos for number in _frames_by_packet(video))


def _frames_by_packet(video: Path) -> list[int]:
    """Decode a recording; return the number of frames that each packet gave, and -1 where it could not be decoded."""
    numbers: list[int] = []
    with suppress(av.error.FFmpegError, OSError), av.open(str(video)) as container:
        for packet in container.demux(container.streams.video[0]):
            try:
                numbers.append(len(packet.decode()))
            except (av.error.FFmpegError, OSError):
                numbers.append(-1)
    return numbers
