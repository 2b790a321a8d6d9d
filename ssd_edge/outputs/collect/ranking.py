"""Rank the frames that this run has collected, so that in a full folder harder ones take the place of easier ones."""

from __future__ import annotations

from typing import NamedTuple

from ssd_edge.data.likeness import Look
from ssd_edge.outputs.collect.folder import Written


class Ranked(NamedTuple):
    """A frame of this run.

    Attributes:
        doubts: how hard it is; see ``hardest.doubts_of``.
        written: its files.
        look: its look.
    """

    doubts: int
    written: Written
    look: Look


class Ranking:
    """Knows which frames may give their place to harder ones: those of this run that nobody has touched."""

    def __init__(self) -> None:
        self._frames: list[Ranked] = []

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._frames)

    def add(self, frame: Ranked) -> None:
        """Take in a frame that was collected."""
        self._frames.append(frame)

    def remove(self, frame: Ranked) -> None:
        """Forget a frame that gave up its place."""
        self._frames = [one for one in self._frames if one is not frame]

    def easier(self, doubts: int, frames: int, size: int) -> list[Ranked]:
        """Return the easiest frames, that together make room; none if easier ones than ``doubts`` do not suffice.

        Args:
            doubts: how hard the frame is for which there is to be room.
            frames, size: number of frames, and of bytes, that are to go at least.
        """
        going, freed = list[Ranked](), 0
        for one in sorted(self._frames, key=lambda one: one.doubts):
            if len(going) >= frames and freed >= size:
                break
            if one.doubts >= doubts:
                return []
            if one.written.is_untouched():
                going.append(one)
                freed += one.written.size
            else:
                self.remove(one)
        return going if len(going) >= frames and freed >= size else []
