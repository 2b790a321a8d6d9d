"""Find objects that flicker: missed for a few frames and found again, seen in a few only, or of another class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from ssd_edge.boxes import iou
from ssd_edge.detections import Detections
from ssd_edge.outputs.collect.settings import lowest_followed
from ssd_edge.tracking.tracker import Settings, State, Track, Tracker

Item = TypeVar("Item")

FEW = 3
"""Most frames for which an object that flickers is missed, or seen."""

PAUSE = 0.3
"""Seconds between two frames from which on an object may have come or gone unseen, so that nothing is said of it."""

_HELD = 6  # frames kept until it is known what becomes of their objects
_SAME_PLACE = 0.5


@dataclass
class _Object:
    """An object that is followed: in how many frames it was seen, and missed now; numbers of frames kept for it."""

    label: int
    begun: int
    seen: int
    settled: bool
    missing: int = -1
    missed: int = 0


class Flickering(Generic[Item]):
    """Follows the objects of one camera.

    Args:
        labels: class names, as in the model's spec.
        thresholds: the score from which on each class is shown.
    """

    def __init__(self, labels: Sequence[str], thresholds: Sequence[float]) -> None:
        self._labels, self._thresholds = labels, np.asarray(thresholds, np.float32)
        self._settings = Settings(list(thresholds), lowest_followed(thresholds))
        self._last = float("-inf")
        self._begin()

    def _begin(self) -> None:
        self._tracker, self._objects = Tracker(self._settings), dict[int, _Object]()
        self._items: dict[int, Item] = {}
        self._unnamed: Counter[int] = Counter()
        self._number = 0

    def update(self, item: Item, detections: Detections, time: float) -> list[tuple[str, Item, str]]:
        """Take in the next frame.

        Args:
            item: stands for the frame, and is given back with what flickered in it.
            detections: all detections of the frame, also faint ones.
            time: seconds at which the frame was taken.

        Returns:
            ``flicker`` or ``class``, the item of the frame to look at, and a sentence, for each object that flickered.
        """
        if not 0 <= time - self._last <= PAUSE:
            self._begin()
        self._last = time
        self._number += 1
        self._items[self._number] = item
        tracks = self._tracker.update(detections, time)
        found = [*self._flashes(tracks), *self._gone(tracks)]
        for track in tracks:
            found += self._followed(track, detections)
        self._note_unnamed(tracks, detections)
        told = [(kind, self._items[number], text) for kind, number, text in found if number in self._items]
        self._forget()
        return told

    def _flashes(self, tracks: Sequence[Track]) -> list[tuple[str, int, str]]:
        """Find what was seen in the frame before only: had it been seen again, it would have an id now."""
        named = Counter(track.label for track in tracks if track.id not in self._objects)
        return [("flicker", self._number - 1, self._brief(label, 1)) for label in self._unnamed - named]

    def _note_unnamed(self, tracks: Sequence[Track], detections: Detections) -> None:
        free = detections.scores >= self._thresholds[detections.labels]
        free[[track.detection for track in tracks if track.detection >= 0]] = False
        self._unnamed = Counter(detections.labels[free].tolist())

    def _gone(self, tracks: Sequence[Track]) -> list[tuple[str, int, str]]:
        ids, found = {track.id for track in tracks}, []
        for number in [number for number in self._objects if number not in ids]:
            one = self._objects.pop(number)
            if one.seen <= FEW and not one.settled:
                found.append(("flicker", one.begun, self._brief(one.label, one.seen)))
        return found

    def _followed(self, track: Track, detections: Detections) -> list[tuple[str, int, str]]:
        one = self._objects.get(track.id)
        if one is None:
            first = self._number == 1
            one = _Object(track.label, self._number - (not first), 1 if first else 2, settled=first)
            self._objects[track.id] = one
            return []
        if track.state is State.LOST:
            one.missed += 1
            if one.missed > 1:
                return []
            one.missing = self._number
            return self._switch(track, detections)
        one.seen += 1
        missed, one.missed = one.missed, 0
        if not 1 <= missed <= FEW:
            return []
        return [("flicker", one.missing, f"{self._labels[one.label]} missed for {_frames(missed)}")]

    def _switch(self, track: Track, detections: Detections) -> list[tuple[str, int, str]]:
        """Find a detection of another class where an object was seen in the frame before."""
        other = (detections.scores >= self._thresholds[detections.labels]) & (detections.labels != track.label)
        if not other.any():
            return []
        overlaps = iou(detections.boxes[other], track.box[None])
        if float(overlaps.max()) < _SAME_PLACE:
            return []
        label = int(detections.labels[other][int(overlaps.argmax())])
        return [("class", self._number, f"{self._labels[track.label]} becomes {self._labels[label]}")]

    def _forget(self) -> None:
        """Keep the frames that may still be asked for: the last, and the newest of those that objects keep."""
        wanted = {one.begun for one in self._objects.values() if one.seen <= FEW and not one.settled}
        wanted |= {one.missing for one in self._objects.values() if 1 <= one.missed <= FEW}
        kept = {self._number, *sorted(wanted)[-_HELD:]}
        self._items = {number: item for number, item in self._items.items() if number in kept}

    def _brief(self, label: int, frames: int) -> str:
        return f"{self._labels[label]} seen in {_frames(frames)} only"


def _frames(number: int) -> str:
    return f"{number} frame{'s' * (number != 1)}"
