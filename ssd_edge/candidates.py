"""Find the (box, class) pairs that are candidates, and the best of them, while computing few exact scores.

An exact score costs some thirty passes of NumPy over its whole row. So most rows are dropped by comparing logits. If
very many rows are left, their candidates are counted by a cheap score wherever that is certain, and exact scores are
computed only for rows that may hold the best ones. The result is that of exact scores for all rows, to the last bit.
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
"""Up to this many logits, exact scores for all rows cost less than computing cheap scores first."""
_AT_ONCE = 1 << 17
"""Logits in one block of cheap scores: few enough for the cache."""
_SHORT = 40
"""Up to this many classes, ``_highest`` compares whole columns."""
_MARGIN = np.float32(1e-4)
"""Relative error that a cheap score may have: exponentials and sums of any library are accurate to 1e-5 or better."""


class Candidates(Protocol):
    """All (box, class) pairs of one image whose score is above the threshold."""

    counts: npt.NDArray[np.int64]
    """(K,) number of candidates of each label."""

    def best(self, number: int) -> Keys:
        """Return the ``number`` best candidates, or all if there are fewer, as sort keys, best first."""


def candidates(loc: Floats, logits: Floats, spec: ModelSpec) -> Candidates:
    """Find the candidates of one image, without NaN scores and boxes whose values are not finite.

    A softmax score is at most the sigmoid of (class logit − background logit), and a sigmoid score grows with its
    logit. Comparing logits therefore drops nearly all boxes before any exponential, but never a candidate.

    Args:
        loc: (A, 4).
        logits: (A, C).
        spec: gives score function and threshold.
    """
    # A little below the true bound, so that rounding of the bound drops no candidate.
    lowest = np.float32(math.log(spec.score_threshold / (1 - spec.score_threshold)) - 1e-3)
    with np.errstate(invalid="ignore", over="ignore"):
        if spec.score_function == "softmax":  # one NaN makes a whole row NaN
            peak = _highest(logits[:, 1:], np.maximum)
            rows = (peak - logits[:, 0] > lowest).nonzero()[0]
        else:
            peak = _highest(logits[:, 1:], np.fmax)
            rows = (peak > lowest).nonzero()[0]
    # Four booleans of one byte each are compared as one integer, which is faster than ``all`` along so short an axis.
    finite = np.isfinite(loc.take(rows, axis=0)).view(np.uint32)[:, 0]
    rows = rows[finite == np.uint32(0x01010101)]
    scores = _Scores(logits, spec)
    if len(rows) * logits.shape[1] <= _FEW:
        return _Few(scores, rows)
    return _Many(scores, rows, peak[rows])


def _highest(logits: Floats, maximum: np.ufunc) -> Floats:
    """Take the maximum of each row, (A, K) → (A,).

    NumPy reduces a short last axis element by element; comparing whole columns is far faster.
    """
    if logits.shape[1] <= _SHORT:
        return np.asarray(maximum.reduce(np.ascontiguousarray(logits.T), axis=0), np.float32)
    return np.asarray(maximum.reduce(logits, axis=1), np.float32)


class _Scores:
    """Exact scores of an image's boxes, computed on demand."""

    def __init__(self, logits: Floats, spec: ModelSpec) -> None:
        self.logits = logits
        self.threshold = np.float32(spec.score_threshold)
        self.is_softmax = spec.score_function == "softmax"

    def of(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Compute the scores (R, K) of R rows, without background."""
        chosen = self.logits.take(rows, axis=0)
        if self.is_softmax:
            return arithmetic.softmax(chosen)[:, 1:]
        return arithmetic.sigmoid(chosen[:, 1:])


class _Few:
    """Candidates from exact scores of all rows that may have one."""

    def __init__(self, scores: _Scores, rows: npt.NDArray[np.int64]) -> None:
        exact = scores.of(rows)
        self._keys, self.counts = _keys(exact, exact > scores.threshold, rows)

    def best(self, number: int) -> Keys:
        return _smallest(self._keys, number)


class _Many:
    """Candidates counted by cheap scores; exact scores are computed only for rows that may hold the best ones."""

    def __init__(self, scores: _Scores, rows: npt.NDArray[np.int64], peak: Floats) -> None:
        look_at = _look_at_softmax if scores.is_softmax else _look_at_sigmoid
        counts = np.zeros(scores.logits.shape[1], np.int64)
        best = np.empty(len(rows), np.float32)
        unsure = np.empty(len(rows), bool)
        step = max(1, _AT_ONCE // len(counts))
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                look = look_at(scores.logits.take(rows[block], axis=0), peak[block], scores.threshold)
                candidate = look.level > look.bound * (1 - _MARGIN)
                doubtful = np.flatnonzero(candidate ^ (look.level > look.bound * (1 + _MARGIN)))
            best[block], unsure[block] = look.best, ~look.sound
            unsure[start + doubtful // candidate.shape[1]] = True
            candidate[unsure[block]] = False
            for first in range(0, len(candidate), 255):  # 255 fit into a byte; counting in bytes is six times as fast
                counts += np.add.reduce(candidate[first : first + 255].view(np.uint8), axis=0, dtype=np.uint8)
        exact = scores.of(rows[unsure])
        best[unsure] = np.fmax.reduce(exact, axis=1, initial=np.float32(0))
        self.counts = counts[1:] + np.count_nonzero(exact > scores.threshold, axis=0)
        self._scores, self._rows, self._best = scores, rows, best

    def best(self, number: int) -> Keys:
        least, rows = self._scores.threshold, self._rows
        if number < len(rows):
            # ``number`` rows have a score of at least this, so the ``number`` best scores overall lie above it, within
            # the margin.
            reached = np.partition(self._best, -number)[-number] * (1 - _MARGIN)
            rows = rows[self._best >= reached * (1 - _MARGIN)]
            least = max(least, np.float32(reached * (1 - _MARGIN)))
        exact = self._scores.of(rows)
        return _smallest(_keys(exact, exact > least, rows)[0], number)


@dataclass(frozen=True)
class _Look:
    """Cheap scores of R rows, with a relative error of at most ``_MARGIN``.

    Attributes:
        level: (R, C) a value that grows with the score.
        bound: (R, 1) the level that the score threshold corresponds to.
        best: (R,) each row's best score.
        sound: (R,) whether the other values can be relied on for the row.
    """

    level: Floats
    bound: Floats
    best: Floats
    sound: npt.NDArray[np.bool_]


def _look_at_softmax(logits: Floats, peak: Floats, threshold: np.float32) -> _Look:
    """Use NumPy's exponential as the level. Rows near the ends of float32's range are not sound."""
    level = np.exp(logits, out=logits)
    total = np.einsum("ij->i", level)
    bound = threshold * total
    sound = (bound > np.float32(1e-30)) & (total < np.float32(1e30))
    return _Look(level, bound[:, None], np.exp(peak) / total, sound)


def _look_at_sigmoid(logits: Floats, peak: Floats, threshold: np.float32) -> _Look:
    """Use the score itself, by NumPy's exponential, as the level."""
    bound = np.full(len(logits), threshold)
    return _Look(_sigmoid(logits), bound[:, None], _sigmoid(peak), bound > np.float32(1e-30))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(np.float32(1) / (np.float32(1) + np.exp(-logits)), np.float32)


def _keys(
    scores: Floats, candidate: npt.NDArray[np.bool_], rows: npt.NDArray[np.int64]
) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Make one 64-bit key for each candidate, and count the candidates of each label.

    Ascending keys mean descending scores, then ascending class and box index: the bits of positive float32 values, read
    as integers, have the same order as the values.
    """
    flat = candidate.ravel().nonzero()[0]
    row, label = np.divmod(flat, scores.shape[1])
    # Converted first: NumPy 1 would make uint32 of a scalar uint64 and an array of uint32.
    descending = np.uint64(0xFFFFFFFF) - scores[row, label].view(np.uint32).astype(np.uint64)
    keys = (descending << np.uint64(32)) + ((label << _INDEX_BITS) + rows[row]).view(np.uint64)
    return keys, np.bincount(label, minlength=scores.shape[1])


def _smallest(keys: Keys, number: int) -> Keys:
    """Return the ``number`` smallest keys in ascending order."""
    if number < len(keys):
        keys = np.partition(keys, number)[:number]
    return np.sort(keys)


def unpacked(keys: Keys) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Split keys into box indices, labels and scores."""
    index = (keys & np.uint64(MAX_DEFAULT_BOXES - 1)).view(np.int64)
    label = ((keys >> np.uint64(_INDEX_BITS)) & np.uint64(MAX_CLASSES - 1)).view(np.int64)
    score = (np.uint64(0xFFFFFFFF) - (keys >> np.uint64(32))).astype(np.uint32).view(np.float32)
    return index, label, score
