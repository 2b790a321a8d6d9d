from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.calibration.scales.calibrators import entropy, min_max, moving_average, mse, percentile
from ssd_edge.calibration.scales.grid import find_scales, rounded, to_scale, weight_scales
from ssd_edge.calibration.scales.histograms import Histogram
from ssd_edge.calibration.scales.methods import METHODS
from ssd_edge.errors import CalibrationError


def of(values) -> Histogram:
    histogram = Histogram()
    histogram.add(np.asarray(values, np.float32))
    return histogram


def divergence(bins: np.ndarray, i: int) -> float:
    """Compute KL(P ‖ Q) by the pseudocode of S7310 for a cut after i bins; infinite where Q is empty and P is not."""
    p = bins[:i].copy()
    p[i - 1] += bins[i:].sum()
    level = np.arange(i) * 128 // i
    filled = bins[:i] > 0
    mean = np.bincount(level, bins[:i], 128) / np.maximum(np.bincount(level, filled, 128), 1)
    q = np.where(filled, mean[level], 0)
    if np.any((q == 0) & (p > 0)):
        return np.inf
    p, q = p / p.sum(), q / q.sum()
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / q[there])))


def slow_entropy(histogram: Histogram) -> float:
    """Follow the pseudocode literally, with the rule that no more than 1 % of the values are clipped."""
    bins = histogram.counts.astype(float)
    bins = bins[: np.flatnonzero(bins)[-1] + 1]
    if len(bins) <= 128:
        return histogram.amax
    best, smallest = len(bins), np.inf
    for i in range(128, len(bins) + 1):
        if bins[i:].sum() > 0.01 * bins.sum():
            continue
        divergence_here = divergence(bins, i)
        if divergence_here <= smallest + 1e-12:
            best, smallest = i, divergence_here
    return min((best + 0.5) * histogram.bin_width, histogram.amax)


RANDOM = np.random.default_rng(3)
SAMPLES = {
    "normal": RANDOM.normal(size=20_000),
    "long tail": RANDOM.standard_t(3, size=20_000),
    "relu": np.maximum(RANDOM.normal(size=20_000), 0),
    "relu6, often at its bound": np.clip(RANDOM.normal(3, 4, size=20_000), 0, 6),
    "few values": np.asarray([0.1, 0.2, 5.0]),
    "pixels": (RANDOM.integers(0, 256, 20_000) - 127.5) / 127.5,
}


@pytest.mark.parametrize("name", SAMPLES)
def test_entropy_is_the_published_algorithm(name):
    histogram = of(SAMPLES[name])
    # If divergences differ by rounding only, another candidate may win: allow the bins of one level.
    assert entropy(histogram) == pytest.approx(slow_entropy(histogram), abs=1.5 * histogram.bin_width)


def test_entropy_cuts_a_tail_and_keeps_a_bound():
    assert entropy(of(SAMPLES["long tail"])) < 0.5 * np.abs(SAMPLES["long tail"]).max()
    assert entropy(of(SAMPLES["relu6, often at its bound"])) == 6.0


def test_entropy_is_fast():
    histogram = of(SAMPLES["long tail"])
    began = time.process_time()
    for _ in range(5):
        entropy(histogram)
    assert (time.process_time() - began) / 5 < 0.05


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from([50.0, 90.0, 99.9, 99.99, 100.0]))
def test_percentile_is_numpys_within_one_bin(seed, share):
    values = np.maximum(np.random.default_rng(seed).normal(size=999), -0.2).astype(np.float32)
    histogram = of(values)
    exact = np.percentile(np.abs(values), share, method="inverted_cdf")
    assert exact <= percentile(histogram, share) <= exact + histogram.bin_width * (1 + 1e-9)


@pytest.mark.parametrize("share", [0, -1, 100.1, float("nan")])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(ValueError, match="share must be"):
        percentile(of([1.0]), share)


def test_min_max_cuts_nothing():
    assert min_max(of([-3.5, 0, 2])) == 3.5


def test_the_moving_average_is_the_range_of_an_average_image():
    """Worked out by hand: minima −4 and 0, maxima 1 and 2: means −2 and 1.5. ORT: see test_reference_calibrators."""
    histogram = of([-4, 1])
    histogram.add(np.asarray([0, 2], np.float32))
    assert moving_average(histogram) == 2.0
    assert moving_average(of([-3.5, 0, 2])) == 3.5


def square_error(values, amax) -> float:
    """Compute the mean square error of rounding to ±127 steps, by the definition."""
    step = amax / 127
    return float(np.mean((values - np.clip(np.rint(values / step), -127, 127) * step) ** 2))


@pytest.mark.parametrize("name", SAMPLES)
def test_mse_is_within_a_hundredth_of_the_best_of_two_thousand_cuts(name):
    """The reference is brute force over the values themselves, including the spike of a ReLU6 at 6."""
    values = np.asarray(SAMPLES[name], np.float32).astype(np.float64)
    largest = np.abs(values).max()
    best = min(square_error(values, cut) for cut in largest * np.linspace(0.0005, 1, 2000))
    assert square_error(values, mse(of(values))) <= 1.01 * best


def test_mse_cuts_one_outlier_among_many():
    values = np.append(RANDOM.normal(size=200_000), 60.0)
    assert 3 < mse(of(values)) < 30


def test_mse_is_fast():
    histogram = of(SAMPLES["long tail"])
    began = time.process_time()
    for _ in range(5):
        mse(histogram)
    assert (time.process_time() - began) / 5 < 0.2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[], [0.0] * 9, [2.5] * 9, [-1e-45], [3e38, -3e38], [0.0, 1e-38, 1e38]])
def test_a_scale_is_never_zero_nan_or_infinite(method, values):
    scale = find_scales({"x": of(values)}, method)["x"]
    assert np.isfinite(scale)
    assert np.finfo(np.float32).tiny <= np.float32(scale)
    if values == [2.5] * 9:
        assert scale == pytest.approx(2.5 / 127)


def test_an_unknown_method_is_refused():
    with pytest.raises(CalibrationError, match="percentile, mse, entropy, min-max, moving-average"):
        find_scales({}, "median")


@pytest.mark.parametrize("amax", [-1.0, np.nan, np.inf])
def test_an_invalid_magnitude_is_refused(amax):
    with pytest.raises(ValueError, match="finite"):
        to_scale(np.asarray([amax], np.float32))


def test_weights_have_a_scale_for_each_output_channel():
    weights = np.zeros((3, 2, 1, 1), np.float32)
    weights[0, 1], weights[1, 0] = -2.54, 1.27
    assert weight_scales(weights) == pytest.approx([0.02, 0.01, 1 / 127])


def test_weights_are_rounded_to_the_nearest_step_of_their_channel():
    weights = np.asarray([[0.1, -0.26], [9.0, 0.0]], np.float32).reshape(2, 2, 1, 1)
    assert rounded(weights, np.asarray([0.1, 0.05], np.float32)).reshape(2, 2).tolist() == [[1, -3], [127, 0]]
