"""What is collected, how much of it, and how much time that may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssd_edge.agreement import TOLERANCES
from ssd_edge.detector import Engine

NEAR = TOLERANCES["INT8"].score
"""How far below its class's threshold a score still tells something: an INT8 engine may differ by so much."""

FAINT = 0.05
"""Score from which on a class competes for an object; with 0.1, fewer errors on rendered belts are collected."""


@dataclass(frozen=True)
class CollectSettings:
    """Settings of one camera's collection.

    Attributes:
        frames: most frames in the folder.
        size: most bytes in the folder.
        share: most time that collecting may take, as a share of all time, 0 … 1.
        quiet: seconds without an object after which a frame is collected.
        gap: seconds of which one frame is collected for a reason: the hardest.
        against: path of a second engine that looks at some of the frames; empty for none.
        open_engine: opens it.
        camera: the camera's name.
        thresholds: the score from which on each class is shown; 0.5 for all if none are given.
    """

    frames: int = 1000
    size: int = 1_000_000_000
    share: float = 0.05
    quiet: float = 600.0
    gap: float = 2.0
    against: str = ""
    open_engine: Callable[[Path], Engine] | None = None
    camera: str = ""
    thresholds: tuple[float, ...] = ()


USUAL = CollectSettings()


def lowest_score(thresholds: Sequence[float]) -> float:
    """Return the lowest score that a collection reads.

    Args:
        thresholds: the score from which on each class is shown.
    """
    return min(FAINT, lowest_followed(thresholds))


def lowest_followed(thresholds: Sequence[float]) -> float:
    """Return the lowest score of an object that is followed from frame to frame; argument as of ``lowest_score``."""
    return max(0.0, min(thresholds) - NEAR)
