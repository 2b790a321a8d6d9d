"""Targets and loss against ``reference``, from boxes in pixels to the gradient."""

from __future__ import annotations

import numpy as np
import pytest

from ssd_edge import boxes
from ssd_edge.models.registry import make_spec
from ssd_edge.training.matching import training_target
from tests.helpers import small_spec
from tests.training.cases import case, compared, gradients


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "number"), [(small_spec(), 100), (make_spec("ssdlite300_mobilenet_v2", ["a", "b", "c"]), 6)]
)
def test_targets_and_loss(spec, number):
    """In all cases, the classes are equal; the loss differs by 1e-6 of itself at most, all of it in its loc part.

    A loc target is rounded in float32: coordinates of up to 1 by 2^-24 in each of about four steps, which the side of
    the default box (for the centre) or of the object (for the size) and the variance then divide.
    """
    sides = boxes.default_boxes(spec)[:, 2:].astype(np.float64)
    matched = 0
    for one in compared(spec, number):
        np.testing.assert_array_equal(one.classes, one.expected.classes)
        object_sides = sides * np.exp(one.expected.loc[:, 2:] * spec.variances[1])
        divisors = np.concatenate([sides * spec.variances[0], object_sides * spec.variances[1]], axis=1)
        tolerance = 4 * 2.0**-24 * (1 / divisors + np.abs(one.expected.loc))
        assert (np.abs(one.loc - one.expected.loc) <= tolerance).all()
        for ours, theirs, relative in zip(one.losses, one.expected_losses, (1e-6, 1e-5, 1e-12), strict=True):
            assert ours == pytest.approx(theirs, rel=relative, abs=1e-12)
        matched += int((one.classes > 0).sum())
    assert matched > 3 * number


@pytest.mark.parametrize("seed", range(6))
def test_gradients_are_finite_differences_of_the_reference(seed):
    """In float64, with a step of 1e-6: the rounding of a loss of about 10 is 1e-15, and by the step 1e-9."""
    for computed, differences in gradients(seed):
        np.testing.assert_allclose(computed, differences, rtol=0, atol=1e-7)
        assert differences.any() or seed == 0


def test_a_fault_is_seen():
    """Another threshold, and a variance that is left out, do not pass for the reference."""
    spec = small_spec()
    defaults = boxes.default_boxes(spec)
    found = 0
    for seed in range(20):
        target, size, expected = case(seed, spec)
        _, classes = training_target(target, size, defaults, spec.variances, threshold=0.45)
        loc, _ = training_target(target, size, defaults, (0.1, 0.1))
        found += not np.array_equal(classes, expected.classes)
        assert np.allclose(loc, expected.loc, atol=1e-3) == (not len(target) or not expected.loc.any())
    assert found > 3
