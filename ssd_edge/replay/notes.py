"""What a recorder has to know of a frame beyond what is shown of it, kept until the frame is forgotten."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

from ssd_edge.detections import Detections
from ssd_edge.loop.shown import Shown
from ssd_edge.stream.frames import Frame


class Note(NamedTuple):
    """The place of a frame among its camera's results, 0, 1, 2, …, and all its detections."""

    number: int
    every: Detections


class Notes:
    """Notes of one camera's frames: the loop's thread makes them, and outputs' threads read them."""

    def __init__(self) -> None:
        self._of_frames: WeakKeyDictionary[Frame, Note] = WeakKeyDictionary()
        self._next = 0

    def made_by(self, shown: Shown) -> Shown:
        """Have a note made whenever a camera's detections are chosen."""

        def noted(frame: Frame, every: Detections) -> Detections:
            self._of_frames[frame] = Note(self._next, every)
            self._next += 1
            return shown(frame, every)

        return noted

    def take(self, frame: Frame) -> Note:
        """Take a frame's note.

        Raises:
            KeyError: there is none.
        """
        return self._of_frames.pop(frame)
