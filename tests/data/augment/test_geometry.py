"""Geometric steps against boxes drawn into the image: where the pixels went, the box went."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ssd_edge.data.augment.geometry import Window, mirror, seen, stretch, view
from ssd_edge.data.augment.paper import INTERPOLATIONS
from ssd_edge.data.dataset import Target
from tests.data.augment.scenes import (
    COLOURS,
    assert_flags_carried,
    assert_on_pixels,
    assert_sound,
    scenes,
    three_objects,
)


@st.composite
def windows(draw):
    """Draw a window that may lie inside, around, across or beside an image of up to 90 × 60."""
    left, top = draw(st.integers(-40, 100)), draw(st.integers(-40, 70))
    return Window(left, top, left + draw(st.integers(1, 200)), top + draw(st.integers(1, 150)))


def through_python(image, window, fill):
    """The pixels of a window one by one."""
    height, width = image.shape[:2]
    rows = [
        [image[y, x] if 0 <= y < height and 0 <= x < width else fill for x in range(window.left, window.right)]
        for y in range(window.top, window.bottom)
    ]
    return np.asarray(rows, np.uint8)


@settings(deadline=None, max_examples=60)
@given(scenes(), windows())
def test_a_window_shows_the_pixels_that_it_covers(scene, window):
    image, target = scene
    out, kept = view(image, target, window, (1, 2, 3))
    np.testing.assert_array_equal(out, through_python(image, window, (1, 2, 3)))
    assert_sound(out, kept)
    assert_on_pixels(out, kept)
    assert_flags_carried(target, kept)


@settings(deadline=None)
@given(scenes(), windows())
def test_an_object_is_seen_exactly_if_its_centre_lies_inside(scene, window):
    _, target = scene
    shown = seen(target, window).tolist()
    for (x1, y1, x2, y2), crowd, is_seen in zip(target.boxes.tolist(), target.crowd, shown, strict=True):
        if crowd:
            touched = x1 < window.right and x2 > window.left and y1 < window.bottom and y2 > window.top
            assert is_seen == touched
        else:
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            assert is_seen == (window.left < x < window.right and window.top < y < window.bottom)


def test_a_centre_on_the_edge_of_the_window_is_not_inside():
    """The centre is (20, 30); a window that begins or ends a pixel further shows it."""
    target = Target.of([[10, 20, 30, 40]], [0])
    for on_the_edge in ((20, 0, 50, 50), (0, 30, 50, 50), (0, 0, 20, 50), (0, 0, 50, 30)):
        assert not seen(target, Window(*on_the_edge)).any()
    for inside in ((19, 0, 50, 50), (0, 29, 50, 50), (0, 0, 21, 50), (0, 0, 50, 31)):
        assert seen(target, Window(*inside)).all()


@settings(deadline=None)
@given(scenes(), windows(), st.data())
def test_a_window_in_a_window_is_one_window(scene, outer, data):
    image, target = scene
    left, top = data.draw(st.integers(0, outer.width - 1)), data.draw(st.integers(0, outer.height - 1))
    right, bottom = data.draw(st.integers(left + 1, outer.width)), data.draw(st.integers(top + 1, outer.height))
    once, _ = view(*view(image, target, outer), Window(left, top, right, bottom))
    both = Window(outer.left + left, outer.top + top, outer.left + right, outer.top + bottom)
    np.testing.assert_array_equal(once, view(image, target, both)[0])


def test_a_share_of_an_object_can_be_asked_for():
    target = Target.of([[0, 0, 10, 10], [0, 0, 10, 10]], [0, 1], crowd=[False, True])
    window = Window(4, 0, 20, 20)  # shows 60 of 100 pixels
    assert seen(target, window, 0.59).tolist() == [True, True]
    assert seen(target, window, 0.61).tolist() == [False, True]


@given(scenes())
def test_mirror(scene):
    image, target = mirror(*scene)
    assert_sound(image, target)
    assert_on_pixels(image, target)
    assert_flags_carried(scene[1], target)
    again, back = mirror(image, target)
    np.testing.assert_array_equal(again, scene[0])
    np.testing.assert_array_equal(back.boxes, scene[1].boxes)


@settings(deadline=None, max_examples=150)
@given(scenes(), st.integers(8, 200), st.integers(8, 200), st.sampled_from(INTERPOLATIONS))
def test_stretch(scene, height, width, interpolation):
    """A box's edge is off by less than a pixel of the result, and half a pixel of the image in the result's pixels.

    An output pixel has the object's colour if its centre lies in the object, so the edge is rounded to whole pixels:
    less than 1. Between two pixels of the image, the colour falls from whole to nothing over one pixel of it.
    """
    image, target = scene
    out, stretched = stretch(image, target, (height, width), interpolation)
    assert out.shape == (height, width, 3)
    assert_sound(out, stretched)
    assert_flags_carried(target, stretched)
    factors = np.asarray([width / image.shape[1], height / image.shape[0]])
    sides = (target.boxes[:, 2:] - target.boxes[:, :2]) * factors
    # A smaller object can fall between the places where the image is read.
    big = (sides >= 2).all(axis=1)
    for k in np.nonzero(big)[0]:
        only = np.where((image == COLOURS[target.labels[k]]).all(axis=2)[..., None], image, 0)
        alone, _ = stretch(only, target, (height, width), interpolation)
        mask = np.zeros(len(target), bool)
        mask[k] = True
        assert_on_pixels(alone, stretched.where(mask), tolerance=1 + 0.5 * max(1.0, *factors))


@given(scenes(), st.sampled_from(INTERPOLATIONS))
def test_stretch_to_the_same_size_changes_nothing(scene, interpolation):
    image, target = scene
    out, same = stretch(image, target, image.shape[:2], interpolation)
    np.testing.assert_array_equal(out, image)
    np.testing.assert_array_equal(same.boxes, target.boxes)


def test_boxes_that_stay_behind_are_seen():
    """A planted fault: pixels mirrored without their boxes are off by more than any tolerance here."""
    image, target = three_objects()
    with pytest.raises(AssertionError):
        assert_on_pixels(mirror(image, target)[0], target, tolerance=1.5)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 1), st.floats(0, 1), st.integers(1, 5000))
def test_stretched_boxes_never_leave_the_image(size, result, first, second, scale):
    assume(abs(first - second) * size > 1e-3)
    low, high = sorted((first * size, second * size))
    _, out = stretch(
        np.zeros((1, size, 3), np.uint8), Target.of([[low, 0, high, 1]], [0]), (scale, result), cv2.INTER_NEAREST
    )
    assert 0 <= out.boxes[0, 0] < out.boxes[0, 2] <= result
    assert out.boxes[0, 3] == scale


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1)])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_images_of_a_few_pixels(shape, interpolation):
    image, target = np.full((*shape, 3), 9, np.uint8), Target.of([[0, 0, *shape[::-1]]], [0])
    out, kept = stretch(image, target, (20, 30), interpolation)
    assert (out == 9).all()
    assert kept.boxes.tolist() == [[0, 0, 30, 20]]
    out, kept = view(image, target, Window(-3, -4, 60, 60), (7, 7, 7))
    assert kept.boxes.tolist() == [[3, 4, 3 + shape[1], 4 + shape[0]]]
    assert (out == 9).all(axis=2).sum() == shape[0] * shape[1]
