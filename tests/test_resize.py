"""The resize: OpenCV's compared with integer arithmetic, averaging with exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.resize import IN_INTEGERS, RESIZES, area, averages, linear, linear_in_integers, resize, taps

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@settings(max_examples=300, deadline=None)
@given(frame=SIZES, size=SIZES, seed=st.integers(0, 99))
def test_opencv_computes_the_integers(frame, size, seed):
    image = noise(frame, seed)
    np.testing.assert_array_equal(linear(image, size), linear_in_integers(image, size))


@pytest.mark.parametrize("frame", [(480, 640), (720, 1280), (1080, 1920), (600, 800), (301, 301), (1, 900), (900, 1)])
@pytest.mark.parametrize("side", [300, 320, 512])
def test_opencv_computes_the_integers_of_large_frames(frame, side):
    image = noise(frame)
    np.testing.assert_array_equal(linear(image, (side, side)), linear_in_integers(image, (side, side)))


def averaged(image, size):
    """Average as ``area`` is documented, pixel by pixel, in exact fractions."""
    (height, width), (rows, columns) = image.shape[:2], size

    def covers(at, pixel, outputs, inputs):
        begin = max(Fraction(at * inputs, outputs), Fraction(pixel))
        return max(Fraction(0), min(Fraction((at + 1) * inputs, outputs), Fraction(pixel + 1)) - begin)

    result = np.zeros((rows, columns, 3), np.uint8)
    for y, x in np.ndindex(rows, columns):
        weights = {
            (r, c): covers(y, r, rows, height) * covers(x, c, columns, width)
            for r in range(height)
            for c in range(width)
        }
        whole = sum(weights.values())
        for channel in range(3):
            mean = sum(weight * int(image[r, c, channel]) for (r, c), weight in weights.items() if weight) / whole
            result[y, x, channel] = int(mean + Fraction(1, 2))  # half up
    return result


@settings(max_examples=25, deadline=None)
@given(frame=st.tuples(st.integers(2, 9), st.integers(2, 9)), data=st.data())
def test_area_averages_what_a_pixel_covers(frame, data):
    size = tuple(data.draw(st.integers(1, length - 1)) for length in frame)
    image = noise(frame, data.draw(st.integers(0, 99)))
    np.testing.assert_array_equal(area(image, size), averaged(image, size))


@pytest.mark.parametrize(("frame", "size"), [((30, 40), (30, 20)), ((20, 40), (30, 20)), ((10, 10), (30, 30))])
def test_a_frame_that_is_not_larger_is_not_averaged(frame, size):
    assert not averages(frame, size)
    np.testing.assert_array_equal(area(noise(frame), size), linear(noise(frame), size))


@pytest.mark.slow
def test_sums_of_very_large_frames_do_not_overflow():
    """Above 8.4 megapixels, the sum of a white frame exceeds 2^31."""
    white = np.full((2900, 2950, 3), 255, np.uint8)
    assert np.all(area(white, (30, 30)) == 255)


@pytest.mark.parametrize("how", RESIZES)
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (300, 300)])
def test_the_same_size_is_the_same_picture(how, size):
    np.testing.assert_array_equal(resize(noise(size), size, how), noise(size))
    np.testing.assert_array_equal(IN_INTEGERS[how](noise(size), size), noise(size))


@settings(max_examples=60, deadline=None)
@given(frame=SIZES, size=SIZES, value=st.integers(0, 255), how=st.sampled_from(sorted(RESIZES)))
def test_one_colour_stays_that_colour(frame, size, value, how):
    assert np.all(resize(np.full((*frame, 3), value, np.uint8), size, how) == value)


def test_a_view_is_taken_as_its_copy_is():
    view = noise((50, 70))[3:, ::-2]
    for how in RESIZES:
        np.testing.assert_array_equal(resize(view, (20, 20), how), resize(view.copy(), (20, 20), how))


def test_taps_by_hand():
    """From 4 to 2 pixels, each output is half of two; from 2 to 4, weights are quarters, and edges take one pixel."""
    assert [one.tolist() for one in taps(2, 4)] == [[0, 2], [128, 128]]
    assert [one.tolist() for one in taps(4, 2)] == [[0, 0, 0, 1], [0, 64, 192, 0]]
