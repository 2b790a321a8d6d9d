"""Calibration methods: each chooses, from a histogram of |x|, the cut: the largest magnitude that int8 holds.

All of them use the same histograms, which one pass over the images fills.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ssd_edge.calibration.scales.histograms import Histogram

LARGEST = 127
"""The largest int8 magnitude in use: −128 is left out, so that the grid is symmetric."""

# Levels of magnitude in ``entropy``: int8 has 127 above zero, but the published algorithm takes 128.
_LEVELS = 128

# The largest share of the values above zero that ``entropy`` may clip.
_MOST_CUT = 0.01

# Number of cuts that ``mse`` compares at once: first over the whole range, then around the best of them.
_CUTS = 64


def min_max(histogram: Histogram) -> float:
    """Return the largest |x|, so that nothing is clipped (TensorRT's ``IInt8MinMaxCalibrator``)."""
    return histogram.amax


def moving_average(histogram: Histogram) -> float:
    """Return the range of an average image: the larger of |mean of the images' minima| and |mean of their maxima|.

    Source: ONNX Runtime's ``MinMaxCalibrater(moving_average=True, symmetric=True)``, which takes this mean over
    everything that it collects at once. An exponential average, as in Jacob et al., arXiv 1712.05877, section 3.1,
    would depend on the order of the images and, over a hundred of them, mostly on the first.
    """
    count = max(1, histogram.images)
    return min(max(abs(histogram.lows), abs(histogram.highs)) / count, histogram.amax)


def percentile(histogram: Histogram, share: float = 99.99) -> float:
    """Return the magnitude that ``share`` percent of all values, zeros included, do not exceed; up to one bin more.

    Source: H. Wu et al., "Integer Quantization for Deep Learning Inference: Principles and Empirical Evaluation",
    arXiv 2004.09602, section 5 (99.99 % did best there over many networks).

    Raises:
        ValueError: share is not above 0 and at most 100.
    """
    if not 0 < share <= 100:
        raise ValueError(f"share must be above 0 and at most 100, but got {share}")
    seen = histogram.zeros + np.cumsum(histogram.counts)
    if seen[-1] == 0:
        return 0.0
    last = int(np.searchsorted(seen, seen[-1] * (share / 100)))
    return min((last + 1) * histogram.bin_width, histogram.amax)


def entropy(histogram: Histogram) -> float:
    """Return the cut that loses the least information: TensorRT's ``IInt8EntropyCalibrator``.

    Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017 (S7310), "Pseudocode". For every number of bins
    i ≥ 128, P is the first i bins, with all values beyond them counted in the last bin. Q is the first i bins without
    those values, averaged over 128 levels, each over its non-empty bins. The i with the smallest KL(P ‖ Q) wins, and
    the cut is (i + ½) bins. The divergence is infinite if a bin of Q is empty and the same bin of P is not. Among equal
    divergences the largest i wins, since it clips least.

    One rule is added: no more than 1 % of the values above zero are clipped. Behind a ReLU6 many values are exactly 6,
    and averaging that spike with its level looks so costly that the published rule may clip nearly everything.

    Sums over levels are computed as differences of running sums, without ever building Q:
    KL = Σ p ln p − Σ_levels S ln(S / n), with S a level's sum and n its number of non-empty bins.
    """
    size = _bins_in_use(histogram)
    if size <= _LEVELS:
        return histogram.amax
    counts = histogram.counts[:size].astype(np.float64)
    running = _running(counts)
    running_filled = _running((counts > 0).astype(np.float64))
    running_log = _running(_x_log_x(counts))
    ends = np.arange(_LEVELS, size + 1)

    edges = -(-ends[:, None] * np.arange(_LEVELS + 1) // _LEVELS)
    sums = np.diff(running[edges], axis=1)
    bins = np.diff(running_filled[edges], axis=1)
    # An empty level has a sum of 0, so any finite number may stand for its logarithm.
    log_means = np.log(np.maximum(sums, 1)) - np.log(np.maximum(bins, 1))

    kept, last = running[ends], counts[ends - 1]
    outliers = running[-1] - kept
    with np.errstate(divide="ignore"):  # if nothing is kept there is no Q, and the divergence is infinite
        p_log_p = running_log[ends - 1] + _x_log_x(last + outliers)
        p_log_q = (sums * log_means).sum(axis=1) + outliers * log_means[:, -1] - running[-1] * np.log(kept)
    divergence = p_log_p - p_log_q - running[-1] * np.log(running[-1])
    divergence[((last == 0) & (outliers > 0)) | (outliers > running[-1] * _MOST_CUT)] = np.inf
    best = int(ends[size - _LEVELS - np.argmin(divergence[::-1])])
    return min((best + 0.5) * histogram.bin_width, histogram.amax)


def mse(histogram: Histogram) -> float:
    """Return the cut with the smallest mean square error of rounding and clipping.

    Source: the method ``mse`` of NVIDIA's pytorch-quantization (``calib.histogram``), which tries cuts in turn and
    puts all values of a bin at its centre. Here the square is integrated over each bin, assuming that its values are
    spread evenly, so that a cut of few bins is judged as well as one of many. It tries 64 cuts over the range, then
    128 around the best.
    """
    size = _bins_in_use(histogram)
    if size == 0:
        return 0.0
    counts = histogram.counts[:size].astype(np.float64)
    step = size / _CUTS
    coarse = np.arange(1, _CUTS + 1) * step
    near = coarse[np.argmin(_square_errors(counts, coarse))]
    fine = near + np.linspace(-step, step, 2 * _CUTS + 1)[1:]
    fine = fine[fine <= size]
    best = float(fine[np.argmin(_square_errors(counts, fine))])
    return min(best * histogram.bin_width, histogram.amax)


def relative_error(histogram: Histogram, amax: float) -> float:
    """Return the RMS error of int8 up to ``amax``, divided by the RMS of the values; 0 if all values are 0."""
    size = _bins_in_use(histogram)
    counts = histogram.counts[:size].astype(np.float64)
    edges = np.arange(size + 1)
    power = float(np.diff(edges**3 / 3) @ counts) if size else 0.0
    if power == 0 or amax <= 0:
        return 0.0
    return float(np.sqrt(_square_errors(counts, np.asarray([amax / histogram.bin_width]))[0] / power))


def _square_errors(counts: npt.NDArray[np.float64], cuts: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Sum the squared errors of a histogram's values (bins,) for each cut (cuts,), in units of its bins.

    The integral of (t − its grid point)² from 0 to x, on a grid of step s that ends at 127 s, is s³k/12 + (x − ks)³/3,
    where k is the grid point nearest to x. The first term is that of k − ½ whole steps, each with s³/12, and of the
    half step below k; the second is from k to x, and includes clipped values.
    """
    steps = cuts[:, None] / LARGEST
    edges = np.arange(len(counts) + 1)
    nearest = np.minimum(np.rint(edges / steps), LARGEST)
    integrals = steps**3 * nearest / 12 + (edges - nearest * steps) ** 3 / 3
    return np.asarray(np.diff(integrals, axis=1) @ counts)


def _bins_in_use(histogram: Histogram) -> int:
    """Count the bins up to the last one that is not empty."""
    filled = np.flatnonzero(histogram.counts)
    return int(filled[-1]) + 1 if len(filled) else 0


def _running(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the sums of the first 0, 1, 2 … values."""
    return np.concatenate([[0.0], np.cumsum(values)])


def _x_log_x(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return x * np.log(x, out=np.zeros_like(x), where=x > 0)
