from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from ssd_edge.calibration.graph import with_outputs
from ssd_edge.calibration.histograms import NUM_BINS, Histogram, Observations, observe
from ssd_edge.errors import CalibrationError
from tests.calibration.nets import images, tiny_net

arrays = stnp.arrays(
    np.float32, st.integers(0, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)


def reference(values: np.ndarray) -> np.ndarray:
    """numpy's histogram of |x| > 0 over 0 … the power of two above the largest."""
    magnitudes = np.abs(values[values != 0]).astype(np.float64)
    exponent = math.frexp(magnitudes.max())[1]
    return np.histogram(np.ldexp(magnitudes, -exponent), NUM_BINS, (0.0, 1.0))[0]


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

    for found in (streamed, merged):
        assert np.array_equal(found.counts, together.counts)
        assert (found.exponent, found.zeros, found.amax) == (together.exponent, together.zeros, together.amax)
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
def test_a_value_that_is_not_finite_is_refused_and_leaves_no_trace(bad):
    histogram = Histogram()
    with pytest.raises(ValueError, match="finite"):
        histogram.add(np.asarray([1, bad, 2], np.float32))
    assert not histogram.counts.any()


def test_observing_counts_inputs_and_inner_tensors_and_reports_progress():
    model, pictures, done = tiny_net(), images(3), []
    seen = observe(with_outputs(model, ["image", "b"]), ["image", "b"], iter(pictures), done.append)
    alone = Histogram()
    for picture in pictures:
        alone.add(picture)
    assert np.array_equal(seen.histograms["image"].counts, alone.counts)
    assert seen.histograms["b"].counts.sum() + seen.histograms["b"].zeros == 3 * 8 * 8 * 8
    assert seen.histograms["b"].zeros > 0
    assert done == [1, 2, 3]
    assert len(set(seen.image_hashes)) == 3


def test_the_image_set_hash_ignores_order_and_sees_a_change():
    assert Observations({}, ("a", "b")).image_set_sha256 == Observations({}, ("b", "a")).image_set_sha256
    assert Observations({}, ("a", "b")).image_set_sha256 != Observations({}, ("a", "c")).image_set_sha256


@pytest.mark.parametrize(("shape", "dtype"), [((1, 3, 9, 8), "f4"), ((1, 3, 8, 8), "f8"), ((2, 3, 8, 8), "f4")])
def test_an_image_of_another_shape_or_type_is_refused(shape, dtype):
    with pytest.raises(CalibrationError, match=r"must be .* float32"):
        observe(tiny_net().SerializeToString(), ["image"], [np.zeros(shape, dtype)])


def test_no_images_are_refused():
    with pytest.raises(CalibrationError, match="needs images"):
        observe(tiny_net().SerializeToString(), ["image"], [])
