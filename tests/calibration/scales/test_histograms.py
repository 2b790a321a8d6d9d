from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from ssd_edge.calibration.scales.histograms import NUM_BINS, Histogram

arrays = stnp.arrays(
    np.float32, st.integers(0, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)


def reference(values: np.ndarray) -> np.ndarray:
    """Compute numpy's histogram of |x| > 0, over 0 … the power of two above the largest value."""
    magnitudes = np.abs(values[values != 0]).astype(np.float64)
    exponent = math.frexp(magnitudes.max())[1]
    return np.histogram(np.ldexp(magnitudes, -exponent), NUM_BINS, (0.0, 1.0))[0]


@pytest.mark.slow
@given(st.lists(arrays, min_size=1, max_size=6))
def test_parts_in_any_order_give_the_histogram_of_all_data_at_the_final_range(parts):
    together, streamed, merged = Histogram(), Histogram(), Histogram()
    whole = np.concatenate(parts)
    together.add(whole)
    for part in reversed(parts):
        streamed.add(part)
        alone = Histogram()
        alone.add(part)
        merged.merge(alone)

    for each in (streamed, merged):
        assert np.array_equal(each.counts, together.counts)
        assert (each.exponent, each.zeros, each.amax) == (together.exponent, together.zeros, together.amax)
    assert together.zeros == np.sum(whole == 0)
    assert together.amax == np.abs(whole).max(initial=0)
    if np.any(whole):
        assert np.array_equal(together.counts, reference(whole))


def test_more_values_than_are_counted_at_once():
    values = np.random.default_rng(0).normal(size=(3, 50_000)).astype(np.float32)
    histogram = Histogram()
    histogram.add(values)
    assert np.array_equal(histogram.counts, reference(values))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_and_changes_nothing(bad):
    histogram = Histogram()
    with pytest.raises(ValueError, match="finite"):
        histogram.add(np.asarray([1, bad, 2], np.float32))
    assert not histogram.counts.any()


def test_the_ranges_of_images_are_added_up():
    """Worked out by hand: (−1, 3), (2, 5) and an image of no values, whose range is 0 … 0."""
    histogram, other = Histogram(), Histogram()
    histogram.add(np.asarray([-1, 3], np.float32))
    other.add(np.asarray([2, 5], np.float32))
    other.add(np.zeros(0, np.float32))
    histogram.merge(other)
    assert (histogram.images, histogram.lows, histogram.highs) == (3, 1.0, 8.0)
