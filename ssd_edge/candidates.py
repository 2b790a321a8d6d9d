"""Which (box, class) pairs are candidates, and the best of them, with few exact scores.

An exact score costs some thirty passes of NumPy over its whole row. So most rows are dropped by a look at their logits;
of very many that are left, candidates are counted by a cheap score, where it is certain, and exact scores are computed
of the rows that may hold the best ones. What comes out is what exact scores of all would give, to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ssd_edge import arithmetic
from ssd_edge.spec import MAX_CLASSES, MAX_DEFAULT_BOXES, ModelSpec

Floats = npt.NDArray[np.float32]
Keys = npt.NDArray[np.uint64]

_INDEX_BITS = MAX_DEFAULT_BOXES.bit_length() - 1
_FEW = 1 << 16
"""Logits in the rows looked at, up to which exact scores of all cost less than a cheap look at them first."""
_AT_ONCE = 1 << 17
"""Logits looked at at once: few enough for the cache."""
_SHORT = 40
"""Classes up to which columns are compared as a whole."""
_MARGIN = np.float32(1e-4)
"""Share by which a cheap score may be off: exponentials and sums of any library are right to 1e-5 and better."""


class Candidates(Protocol):
    """All pairs with a score above the threshold, of one image."""

    counts: npt.NDArray[np.int64]
    """(K,) how many there are of each label."""

    def best(self, number: int) -> Keys:
        """The ``number`` best as sort keys, best first; fewer where there are no more."""


def candidates(loc: Floats, logits: Floats, spec: ModelSpec) -> Candidates:
    """Candidates of one image. A NaN score counts for nothing, nor does a box with values that are not finite.

    A softmax score is at most the sigmoid of (class logit − background logit), and a sigmoid score grows with its
    logit; so a comparison of logits drops nearly all boxes before any exponential, and none that would count.

    Args:
        loc: (A, 4).
        logits: (A, C).
        spec: gives score function and threshold.
    """
    # Four truths of one byte each are one number: quicker than ``all`` along so short an axis.
    sound = np.isfinite(loc, order="C").view(np.uint32)[:, 0] == np.uint32(0x01010101)
    # A little below the true bound: its own rounding must not drop a candidate.
    lowest = np.float32(math.log(spec.score_threshold / (1 - spec.score_threshold)) - 1e-3)
    with np.errstate(invalid="ignore", over="ignore"):
        if spec.score_function == "softmax":  # a NaN anywhere spoils its row
            peak = _highest(logits[:, 1:], np.maximum)
            rows = np.flatnonzero((peak - logits[:, 0] > lowest) & sound)
        else:
            peak = _highest(logits[:, 1:], np.fmax)
            rows = np.flatnonzero((peak > lowest) & sound)
    scores = _Scores(logits, spec)
    if len(rows) * logits.shape[1] <= _FEW:
        return _Few(scores, rows)
    return _Many(scores, rows, peak[rows])


def _highest(logits: Floats, maximum: np.ufunc) -> Floats:
    """(A, K) → (A,). NumPy reduces a short axis number by number; as columns side by side it is far quicker."""
    if logits.shape[1] <= _SHORT:
        return np.asarray(maximum.reduce(np.ascontiguousarray(logits.T), axis=0), np.float32)
    return np.asarray(maximum.reduce(logits, axis=1), np.float32)


class _Scores:
    """Exact scores of an image's boxes, by the box."""

    def __init__(self, logits: Floats, spec: ModelSpec) -> None:
        self.logits = logits
        self.threshold = np.float32(spec.score_threshold)
        self.is_softmax = spec.score_function == "softmax"

    def of(self, rows: npt.NDArray[np.int64]) -> Floats:
        """(R, K), without background."""
        chosen = self.logits.take(rows, axis=0)
        if self.is_softmax:
            return arithmetic.softmax(chosen)[:, 1:]
        return arithmetic.sigmoid(chosen[:, 1:])


class _Few:
    """Exact scores of all rows that may have a candidate."""

    def __init__(self, scores: _Scores, rows: npt.NDArray[np.int64]) -> None:
        exact = scores.of(rows)
        self._keys, self.counts = _keys(exact, exact > scores.threshold, rows)

    def best(self, number: int) -> Keys:
        return _smallest(self._keys, number)


class _Many:
    """Candidates counted by cheap scores, and exact scores of the rows that may hold the best ones."""

    def __init__(self, scores: _Scores, rows: npt.NDArray[np.int64], peak: Floats) -> None:
        look_at = _look_at_softmax if scores.is_softmax else _look_at_sigmoid
        counts = np.zeros(scores.logits.shape[1], np.int64)
        best = np.empty(len(rows), np.float32)
        unsure = np.empty(len(rows), bool)
        step = max(1, _AT_ONCE // len(counts))
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                look = look_at(scores.logits.take(rows[some], axis=0), peak[some], scores.threshold)
                candidate = look.level > look.bound * (1 - _MARGIN)
                doubtful = np.flatnonzero(candidate ^ (look.level > look.bound * (1 + _MARGIN)))
            best[some], unsure[some] = look.best, ~look.sound
            unsure[start + doubtful // candidate.shape[1]] = True
            candidate[unsure[some]] = False
            for first in range(0, len(candidate), 255):  # as many as a byte can count, six times as fast as integers
                counts += np.add.reduce(candidate[first : first + 255].view(np.uint8), axis=0, dtype=np.uint8)
        exact = scores.of(rows[unsure])
        best[unsure] = np.fmax.reduce(exact, axis=1, initial=np.float32(0))
        self.counts = counts[1:] + np.count_nonzero(exact > scores.threshold, axis=0)
        self._scores, self._rows, self._best = scores, rows, best

    def best(self, number: int) -> Keys:
        least, rows = self._scores.threshold, self._rows
        if number < len(rows):
            # As many rows have a score that reaches this, so the best ``number`` scores of all do, within the margin.
            reached = np.partition(self._best, -number)[-number] * (1 - _MARGIN)
            rows = rows[self._best >= reached * (1 - _MARGIN)]
            least = max(least, np.float32(reached * (1 - _MARGIN)))
        exact = self._scores.of(rows)
        return _smallest(_keys(exact, exact > least, rows)[0], number)


@dataclass(frozen=True)
class _Look:
    """What a cheap look at rows tells, off by a share of ``_MARGIN`` at most.

    Attributes:
        level: (R, C) grows with the score.
        bound: (R, 1), the level of the threshold.
        best: (R,) each row's best score.
        sound: (R,) whether all this holds for the row.
    """

    level: Floats
    bound: Floats
    best: Floats
    sound: npt.NDArray[np.bool_]


def _look_at_softmax(logits: Floats, peak: Floats, threshold: np.float32) -> _Look:
    """Level: the exponential, by whatever exp NumPy has here. Near float32's ends it is not sound."""
    level = np.exp(logits, out=logits)
    total = np.einsum("ij->i", level)
    bound = threshold * total
    sound = (bound > np.float32(1e-30)) & (total < np.float32(1e30))
    return _Look(level, bound[:, None], np.exp(peak) / total, sound)


def _look_at_sigmoid(logits: Floats, peak: Floats, threshold: np.float32) -> _Look:
    """Level: the score."""
    bound = np.full(len(logits), threshold)
    return _Look(_sigmoid(logits), bound[:, None], _sigmoid(peak), bound > np.float32(1e-30))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(np.float32(1) / (np.float32(1) + np.exp(-logits)), np.float32)


def _keys(
    scores: Floats, candidate: npt.NDArray[np.bool_], rows: npt.NDArray[np.int64]
) -> tuple[Keys, npt.NDArray[np.int64]]:
    """One 64-bit key a candidate, ascending = best score, then class, then box index; and how many of each label.

    The bits of a positive float32 are ordered as it is.
    """
    flat = np.flatnonzero(candidate)
    row, label = np.divmod(flat, scores.shape[1])
    descending = np.uint64(0xFFFFFFFF) - scores[row, label].view(np.uint32)
    keys = (descending << np.uint64(32)) + ((label << _INDEX_BITS) + rows[row]).view(np.uint64)
    return keys, np.bincount(label, minlength=scores.shape[1])


def _smallest(keys: Keys, number: int) -> Keys:
    """The ``number`` smallest keys in order."""
    if number < len(keys):
        keys = np.partition(keys, number)[:number]
    return np.sort(keys)


def unpacked(keys: Keys) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Box indices, labels and scores of keys."""
    index = (keys & np.uint64(MAX_DEFAULT_BOXES - 1)).view(np.int64)
    label = ((keys >> np.uint64(_INDEX_BITS)) & np.uint64(MAX_CLASSES - 1)).view(np.int64)
    score = (np.uint64(0xFFFFFFFF) - (keys >> np.uint64(32))).astype(np.uint32).view(np.float32)
    return index, label, score
