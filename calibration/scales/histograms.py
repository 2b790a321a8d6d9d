"""Histograms of |x|: all that the calibrators need of an activation, in memory that does not grow with the images."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

NUM_BINS = 4096
"""Bins of a histogram. Its range is below twice the largest value, so at least half of them are in use."""

# Values counted at once: few enough for a processor's cache.
_CHUNK = 1 << 16

# Of the smallest float32, 2^−149: where every range starts.
_LEAST_EXPONENT = -148


@dataclass
class Histogram:
    """How often each magnitude |x| > 0 was met, in ``NUM_BINS`` equal bins over 0 … 2^exponent.

    The range is the smallest power of two above the largest value so far, so that bins merge without error when it
    grows: the histogram does not depend on the order of the data, and those of parts add up to that of the whole.
    Beside it stand sums over the images of their smallest and largest value, for the average range of an image.

    Zeros are counted apart: a symmetric grid holds zero exactly at every scale, so they must not weigh on its choice,
    and behind a ReLU they are most of the data.

    Attributes:
        counts: (NUM_BINS,) int64.
        exponent: of the range.
        zeros: how many values were exactly 0.
        amax: the largest |x|.
        images: how often ``add`` was called.
        lows: sum of the smallest value of each image.
        highs: sum of the largest value of each image.
    """

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(NUM_BINS, np.int64))
    exponent: int = _LEAST_EXPONENT
    zeros: int = 0
    amax: float = 0.0
    images: int = 0
    lows: float = 0.0
    highs: float = 0.0

    @property
    def bin_width(self) -> float:
        """In units of x."""
        return math.ldexp(1.0, self.exponent) / NUM_BINS

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count the values of one image, in any shape.

        Raises:
            ValueError: one of them is NaN or infinite.
        """
        flat = values.reshape(-1)
        low, high = (float(flat.min()), float(flat.max())) if flat.size else (0.0, 0.0)
        amax = max(high, -low)
        if not math.isfinite(amax):
            raise ValueError("a histogram takes finite values only")
        if amax > 0.0:
            self._grow(math.frexp(amax)[1])
        for start in range(0, flat.size, _CHUNK):
            # A float64 holds x divided by a power of two without rounding: no value lands in its neighbour's bin.
            magnitudes = np.abs(flat[start : start + _CHUNK], dtype=np.float64)
            magnitudes *= 1.0 / self.bin_width
            self.counts += np.bincount(magnitudes.astype(np.int64), minlength=NUM_BINS)
        num_zeros = flat.size - int(np.count_nonzero(flat))
        self.counts[0] -= num_zeros
        self.zeros += num_zeros
        self.amax = max(self.amax, amax)
        self.images += 1
        self.lows += low
        self.highs += high

    def merge(self, other: Histogram) -> None:
        """Count all that another histogram counted; that one is left as it was."""
        self._grow(other.exponent)
        self.counts += _coarser(other.counts, self.exponent - other.exponent)
        self.zeros += other.zeros
        self.amax = max(self.amax, other.amax)
        self.images += other.images
        self.lows += other.lows
        self.highs += other.highs

    def _grow(self, exponent: int) -> None:
        """Widen the range to at least 2^exponent."""
        if exponent > self.exponent:
            self.counts = _coarser(self.counts, exponent - self.exponent)
            self.exponent = exponent


def _coarser(counts: npt.NDArray[np.int64], doublings: int) -> npt.NDArray[np.int64]:
    """The same data over a range 2^doublings times as wide."""
    merged = np.zeros_like(counts)
    sums = counts.reshape(-1, min(1 << doublings, NUM_BINS)).sum(axis=1)
    merged[: len(sums)] = sums
    return merged
