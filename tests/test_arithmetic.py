"""exp, softmax and sigmoid against float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge import arithmetic


def test_exp_is_within_one_unit_in_the_last_place():
    x = np.linspace(-87.33, 88.72, 1_000_001).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    units = np.abs(arithmetic.exp(x) - exact) / np.spacing(exact.astype(np.float32))
    assert units.max() < 1


def test_exp_at_its_ends():
    x = np.asarray([-np.inf, -1e30, -87.34, 0.0, -0.0, 88.73, 1e30, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(
        arithmetic.exp(x), np.asarray([0, 0, 0, 1, 1, np.inf, np.inf, np.inf, np.nan], np.float32)
    )


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 100), spread=st.sampled_from([0.1, 3.0, 30.0]))
def test_softmax_and_sigmoid_are_within_a_few_units_of_float64(seed, classes, spread):
    logits = np.random.default_rng(seed).normal(0, spread, (7, classes)).astype(np.float32)
    wide = logits.astype(np.float64)
    exponentials = np.exp(wide - wide.max(axis=1, keepdims=True))
    # Differences of logits are rounded before exp, which costs up to their size in units of 2^-24.
    tolerance = 2e-7 * (4 + np.ptp(wide))
    np.testing.assert_allclose(
        arithmetic.softmax(logits), exponentials / exponentials.sum(axis=1, keepdims=True), rtol=tolerance, atol=1e-37
    )
    np.testing.assert_allclose(arithmetic.sigmoid(logits), 1 / (1 + np.exp(-wide)), rtol=5e-7, atol=1e-37)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_with_nan_or_infinity_is_nan_and_changes_no_other(bad):
    logits = np.zeros((3, 40), np.float32)
    logits[1, 33] = bad
    got = arithmetic.softmax(logits)
    assert np.isnan(got[1]).all()
    np.testing.assert_array_equal(got[[0, 2]], np.float32(1) / np.float32(40))


def test_no_rows():
    assert arithmetic.softmax(np.zeros((0, 3), np.float32)).shape == (0, 3)
