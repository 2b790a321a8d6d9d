"""Histograms of |x|: all that the calibrators need to know of an activation, in memory of constant size."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

NUM_BINS = 4096
"""Number of bins of a histogram. Its range is at most twice the largest value, so at least half of them are in use."""

# Number of values counted at once: few enough to fit in a processor's cache.
_CHUNK = 1 << 16

# Exponent of the range that every histogram starts with: just above the smallest float32, 2^−149.
_LEAST_EXPONENT = -148


@dataclass
class Histogram:
    """Counts of the magnitudes |x| > 0, in ``NUM_BINS`` equal bins over 0 … 2^exponent.

    The range is the smallest power of two above the largest value so far, so that bins merge without error when it
    grows: the histogram does not depend on the order of the data, and histograms of parts add up to that of the whole.
    It also has the sums over the images of their smallest and largest values, for the range of an average image.

    Zeros are counted separately: a symmetric grid holds zero exactly at every scale, so zeros must not influence its
    choice, and behind a ReLU they are most of the data.

    Attributes:
        counts: number of values in each bin, (NUM_BINS,) int64.
        exponent: exponent of the range.
        zeros: number of values that were exactly 0.
        amax: the largest |x|.
        images: number of images, that is calls of ``add``.
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
        """Width of a bin, in units of x."""
        return math.ldexp(1.0, self.exponent) / NUM_BINS

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count the values of one image, in any shape.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        flat = values.reshape(-1)
        low, high = (float(flat.min()), float(flat.max())) if flat.size else (0.0, 0.0)
        amax = max(high, -low)
        if not math.isfinite(amax):
            raise ValueError("a histogram takes finite values only")
        if amax > 0.0:
            self._grow(math.frexp(amax)[1])
        for start in range(0, flat.size, _CHUNK):
            # A float64 holds x divided by a power of two without rounding, so every value lands in its own bin.
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
        """Add the counts of another histogram, which is left unchanged."""
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
    """Return the counts of the same data over a range 2^doublings times as wide."""
    merged = np.zeros_like(counts)
    sums = counts.reshape(-1, min(1 << doublings, NUM_BINS)).sum(axis=1)
    merged[: len(sums)] = sums
    return merged
