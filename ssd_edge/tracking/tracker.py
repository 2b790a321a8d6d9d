"""Give objects ids that last from frame to frame, by ByteTrack (Zhang et al. 2022, arXiv 2110.06864).

Detections of high score are paired with the tracks by overlap (IoU × score), those of low score with what tracks are
left (IoU alone): an object that is half hidden scores low, but stands where its track expects it. A track that finds
nothing is lost, and is found again within a second, or forgotten. The authors' program is
github.com/ifzhang/ByteTrack, yolox/tracker/byte_tracker.py; what differs from it is written at ``Tracker``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.boxes import iou
from ssd_edge.detections import Detections
from ssd_edge.tracking.assignment import Indices, assign
from ssd_edge.tracking.motion import FRAME, Motion

Mask = npt.NDArray[np.bool_]

_SAME = 0.85
"""Overlap above which a lost track and a present one are the same object."""
_ABOVE_HIGH = 0.1
"""How far the score that begins a track lies above that of the first round."""
_ROUNDING = 1e-6


class State(Enum):
    """What is known of an object."""

    NEW = 0
    """Seen in one frame only; it has no id yet."""
    PRESENT = 1
    """Seen in the last frame."""
    LOST = 2
    """Not seen in the last frame, but not long gone."""


@dataclass(frozen=True, eq=False)
class Track:
    """One object in one frame.

    Attributes:
        id: 1, 2, 3, …, given once only.
        label: index into the model's labels.
        box: (4,) float32 ``x1, y1, x2, y2`` in pixels; measured if ``PRESENT``, predicted if ``LOST``.
        score: score of its last detection.
        age: seconds since it was first seen.
        state: ``PRESENT`` or ``LOST``.
        detection: index of its detection in this frame; −1 if ``LOST``.
    """

    id: int
    label: int
    box: npt.NDArray[np.float32]
    score: float
    age: float
    state: State
    detection: int


@dataclass(frozen=True)
class Settings:
    """How objects are followed.

    Attributes:
        begin: lowest score of a detection that begins a track: one for each label.
        low: lowest score of a detection that continues one; where ``begin`` is lower, that is.
        lost: seconds after which an object that is not seen is forgotten.
    """

    begin: Sequence[float]
    low: float = 0.1
    lost: float = 1.0


@dataclass(frozen=True)
class Rounds:
    """How tracks and detections are paired; a cost is 1 − IoU, or 1 − IoU × score for high scores.

    Attributes:
        high: cost from which a detection of high score is no candidate of a track with an id.
        confirming: the same of a new track.
        low: the same of a detection of low score.
        low_finds: which tracks such detections are offered to.
    """

    high: float = 0.8
    confirming: float = 0.7
    low: float = 0.8
    low_finds: tuple[State, ...] = (State.PRESENT, State.LOST, State.NEW)


PUBLISHED = Rounds(low=0.5, low_finds=(State.PRESENT,))
"""As in the authors' program. ``Rounds()`` loses fewer objects of a slow camera, as benchmarks/tracking.py measures."""


@dataclass(eq=False)
class _Tracks:
    """What is kept of N tracks: (N,) arrays, and their motion."""

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    states: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    began: npt.NDArray[np.float64]
    seen: npt.NDArray[np.float64]
    detections: npt.NDArray[np.int64]
    motion: Motion

    @classmethod
    def of(cls, detections: Detections, which: Indices, state: State, now: float) -> _Tracks:
        count = len(which)
        times = np.full(count, now)
        return cls(
            ids=np.zeros(count, np.int64),
            labels=detections.labels[which],
            states=np.full(count, state.value),
            scores=detections.scores[which],
            began=times,
            seen=times.copy(),
            detections=which,
            motion=Motion.of(detections.boxes[which]),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def are(self, *states: State) -> Mask:
        mask = np.zeros(len(self), bool)
        for state in states:
            mask |= self.states == state.value
        return mask

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {name: value for name, value in vars(self).items() if name != "motion"}

    def select(self, which: Mask) -> _Tracks:
        arrays = {name: array[which] for name, array in self.arrays().items()}
        return replace(self, **arrays, motion=self.motion.select(which))

    def joined(self, other: _Tracks) -> _Tracks:
        others = other.arrays()
        arrays = {name: np.concatenate([array, others[name]]) for name, array in self.arrays().items()}
        return replace(self, **arrays, motion=self.motion.joined(other.motion))


class Tracker:
    """Follows the objects of one camera.

    It differs from the authors' program in this: objects of different labels are never paired; time is in seconds, and
    frames may be missing; an id is given to a track when it is seen a second time, or in the first frame, so ids have
    no gaps; the score that begins a track is set, and that of the high scores lies 0.1 below it, not the reverse;
    boxes that are reported are those that were detected; and low scores find more, unless ``rounds`` is ``PUBLISHED``.

    Args:
        settings: thresholds and times.
        rounds: how tracks and detections are paired.
    """

    def __init__(self, settings: Settings, rounds: Rounds = Rounds()) -> None:
        self._rounds = rounds
        self.adjust(settings)
        self._tracks = _Tracks.of(Detections.empty(), np.zeros(0, np.int64), State.NEW, 0.0)
        self._last: float | None = None
        self._next = 1

    def adjust(self, settings: Settings) -> None:
        """Follow by other settings from the next frame on; what is followed keeps its ids."""
        self._settings = settings
        self._begin = np.asarray(settings.begin, np.float32)
        self._low = np.minimum(self._begin, np.float32(settings.low))
        self._high = np.maximum(self._begin - np.float32(_ABOVE_HIGH), self._low)

    @property
    def given(self) -> int:
        """Number of ids given so far."""
        return self._next - 1

    def update(self, detections: Detections, time: float) -> list[Track]:
        """Take in the next frame.

        Args:
            detections: all detections of the frame that can begin or continue a track; fainter ones are not used.
            time: seconds at which the frame was taken; never before the last one's, or it counts as the same.

        Returns:
            The tracks that have an id, lost ones too, in the order of their ids.
        """
        first = self._last is None
        now = time if self._last is None else max(time, self._last)
        self._predict(0.0 if self._last is None else (now - self._last) / FRAME)
        self._last = now
        tracks = self._tracks
        tracks.detections = np.full(len(tracks), -1, np.int64)

        high = detections.scores >= self._high[detections.labels]
        low = (detections.scores >= self._low[detections.labels]) & ~high
        was_present, was_new = tracks.are(State.PRESENT), tracks.are(State.NEW)
        offered_low = tracks.are(*self._rounds.low_finds)
        # A track that was paired is not sought again, so these stay right.
        expected = tracks.motion.boxes()
        self._pair(detections, high, ~was_new, self._rounds.high, now, expected)
        self._pair(detections, high, was_new, self._rounds.confirming, now, expected)
        self._pair(detections, low, offered_low, self._rounds.low, now, expected, by_score=False)

        unseen = tracks.detections < 0
        tracks.states[unseen & was_present] = State.LOST.value
        gone = unseen & (was_new | (now - tracks.seen > self._settings.lost + _ROUNDING))
        left = high & (detections.scores >= self._begin[detections.labels])
        left[tracks.detections[~unseen]] = False
        if gone.any():
            tracks = tracks.select(~gone)
        if left.any():
            state = State.PRESENT if first else State.NEW
            tracks = tracks.joined(_Tracks.of(detections, left.nonzero()[0], state, now))
        self._tracks = _without_copies(tracks)
        return self._report(detections, now)

    def _predict(self, frames: float) -> None:
        tracks = self._tracks
        tracks.motion.speed[tracks.are(State.LOST), 3] = 0.0  # or a lost object would grow or shrink away
        tracks.motion.predict(tracks.are(State.PRESENT, State.LOST), frames)

    def _pair(
        self,
        detections: Detections,
        offered: Mask,
        sought: Mask,
        limit: float,
        now: float,
        expected: npt.NDArray[np.float32],
        *,
        by_score: bool = True,
    ) -> None:
        """Pair tracks ``sought`` that have no detection yet with detections ``offered`` that have no track yet.

        ``expected`` is where the tracks are expected, (N, 4).
        """
        tracks = self._tracks
        paired = tracks.detections >= 0
        free = offered.copy()
        free[tracks.detections[paired]] = False
        columns, rows = free.nonzero()[0], (sought & ~paired).nonzero()[0]
        if not (len(rows) and len(columns)):
            return
        overlaps = iou(expected[rows][:, None], detections.boxes[columns][None]).astype(np.float64)
        if by_score:
            overlaps *= detections.scores[columns]
        costs = np.where(tracks.labels[rows][:, None] == detections.labels[columns], 1 - overlaps, np.inf)
        chosen_rows, chosen_columns = assign(costs, limit)
        rows, columns = rows[chosen_rows], columns[chosen_columns]
        tracks.motion.correct(rows, detections.boxes[columns])
        tracks.states[rows] = State.PRESENT.value
        tracks.scores[rows] = detections.scores[columns]
        tracks.detections[rows] = columns
        tracks.seen[rows] = now

    def _report(self, detections: Detections, now: float) -> list[Track]:
        tracks = self._tracks
        unnamed = ((tracks.ids == 0) & tracks.are(State.PRESENT)).nonzero()[0]
        tracks.ids[unnamed] = np.arange(self._next, self._next + len(unnamed))
        self._next += len(unnamed)
        measured = tracks.detections >= 0
        boxes = np.empty((len(tracks), 4), np.float32) if measured.all() else tracks.motion.boxes()
        boxes[measured] = detections.boxes[tracks.detections[measured]]
        by_value = tuple(State)  # their values are 0, 1, 2
        plain = zip(
            tracks.ids.tolist(),
            tracks.labels.tolist(),
            boxes,
            tracks.scores.tolist(),
            (now - tracks.began).tolist(),
            tracks.states.tolist(),
            tracks.detections.tolist(),
            strict=True,
        )
        return sorted(
            (
                Track(number, label, box, score, age, by_value[state], detection)
                for number, label, box, score, age, state, detection in plain
                if number
            ),
            key=lambda track: track.id,
        )


def _without_copies(tracks: _Tracks) -> _Tracks:
    """Leave out of each pair of a lost and a present track with nearly the same box the one that lived shorter."""
    is_lost = tracks.are(State.LOST)
    lost, here = is_lost.nonzero()[0], (~is_lost).nonzero()[0]
    if not (len(lost) and len(here)):
        return tracks
    boxes, lived = tracks.motion.boxes(), tracks.seen - tracks.began
    same = iou(boxes[here][:, None], boxes[lost][None]) > _SAME
    same &= tracks.labels[here][:, None] == tracks.labels[lost]
    longer = lived[here][:, None] > lived[lost]
    kept = np.ones(len(tracks), bool)
    kept[lost[(same & longer).any(axis=0)]] = False
    kept[here[(same & ~longer).any(axis=1)]] = False
    return tracks.select(kept)
