"""Distortion of colours: ranges of the authors' code, against formulas in float64."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.data.augment.photometric import Distortion


def image_of(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def test_draws_are_those_of_the_authors_configuration():
    """Of 4000 draws, each distortion is left out half of the time (5 sigma: 0.04), and spans its range to 2 %."""
    rng = np.random.default_rng(0)
    drawn = [Distortion.draw(rng) for _ in range(4000)]
    for name, low, high, nothing in (
        ("brightness", -32, 32, 0.0),
        ("contrast", 0.5, 1.5, 1.0),
        ("saturation", 0.5, 1.5, 1.0),
        ("hue", -18, 18, 0.0),
    ):
        values = np.asarray([getattr(one, name) for one in drawn])
        assert np.mean(values == nothing) == pytest.approx(0.5, abs=0.04)
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
    assert np.mean([one.contrast_first for one in drawn]) == pytest.approx(0.5, abs=0.04)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-32, 32), st.floats(0.5, 1.5), st.booleans())
def test_brightness_and_contrast(seed, brightness, contrast, first):
    image = image_of(seed, 5, 7)
    out = Distortion(brightness, contrast, contrast_first=first)(image)
    brighter = np.clip(np.rint(image.astype(np.float64) + brightness), 0, 255)
    np.testing.assert_array_equal(out, np.clip(np.rint(brighter * contrast), 0, 255))


@pytest.mark.parametrize("hue", [-18, -7, 0, 11, 18])
@pytest.mark.parametrize("saturation", [0.5, 1.0, 1.5])
def test_hue_and_saturation_are_those_of_hsv(hue, saturation):
    """A step of hue is two degrees. OpenCV rounds hue to such steps: half of one is 255 / 60 levels, twice."""
    for bgr in ((200, 60, 30), (40, 90, 160), (30, 220, 100), (5, 5, 250)):
        out = Distortion(saturation=saturation, hue=hue)(np.full((2, 2, 3), bgr, np.uint8))[0, 0]
        h, s, v = colorsys.rgb_to_hsv(*(level / 255 for level in reversed(bgr)))
        rgb = colorsys.hsv_to_rgb((h + hue / 180) % 1.0, min(1.0, s * saturation), v)
        np.testing.assert_allclose(out[::-1], np.asarray(rgb) * 255, atol=9)


def test_contrast_before_or_behind_the_hue_makes_a_difference():
    image = np.full((1, 1, 3), (250, 20, 120), np.uint8)
    first, last = (Distortion(contrast=1.5, saturation=0.5, contrast_first=first)(image) for first in (True, False))
    assert not np.array_equal(first, last)


def test_no_distortion_gives_the_image_itself():
    image = image_of(0, 4, 4)
    assert Distortion()(image) is image


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
def test_the_image_keeps_its_shape_and_is_not_changed(seed, height, width):
    image = image_of(seed, height, width)
    before = image.copy()
    out = Distortion.draw(np.random.default_rng(seed))(image)
    assert (out.shape, out.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(image, before)
