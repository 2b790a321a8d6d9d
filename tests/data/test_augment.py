"""Augmentation: boxes stay on their objects' pixels, and inside the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.data.augment import MIN_VISIBLE, augment, mirror, random_colour, random_crop
from ssd_edge.data.dataset import Target

COLOURS = [(0, 0, 255), (0, 255, 0), (255, 0, 0)]
"""Colours of objects 0, 1 and 2, on black."""


@st.composite
def scenes(draw):
    """Draw an image with up to three coloured rectangles that do not overlap, each in its own third."""
    height, width = draw(st.integers(12, 60)), draw(st.integers(36, 90))
    image = np.zeros((height, width, 3), np.uint8)
    rows, labels = [], []
    for label in draw(st.lists(st.integers(0, 2), max_size=3, unique=True)):
        left, right = label * (width // 3), (label + 1) * (width // 3)
        x1 = draw(st.integers(left, right - 1))
        x2 = draw(st.integers(x1 + 1, right))
        y1 = draw(st.integers(0, height - 1))
        y2 = draw(st.integers(y1 + 1, height))
        image[y1:y2, x1:x2] = COLOURS[label]
        rows.append([x1, y1, x2, y2])
        labels.append(label)
    flags = draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    return image, Target.of(rows, labels, flags, [not flag for flag in flags])


def extent_of(image: np.ndarray, label: int) -> list[int]:
    """Compute x1, y1, x2, y2 of the pixels with an object's colour."""
    y, x = np.nonzero((image == COLOURS[label]).all(axis=2))
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def assert_on_pixels(image: np.ndarray, target: Target) -> None:
    for box, label in zip(target.boxes, target.labels, strict=True):
        assert box.tolist() == extent_of(image, int(label))


def assert_sound(image: np.ndarray, target: Target) -> None:
    height, width = image.shape[:2]
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert min(height, width) >= 1
    assert target.boxes.dtype == np.float32
    assert (target.boxes[:, 2:] > target.boxes[:, :2]).all()
    assert (target.boxes >= 0).all()
    assert (target.boxes <= [width, height, width, height]).all()


@given(scenes())
def test_mirror(scene):
    image, target = mirror(*scene)
    assert_sound(image, target)
    assert_on_pixels(image, target)
    again, back = mirror(image, target)
    np.testing.assert_array_equal(again, scene[0])
    np.testing.assert_array_equal(back.boxes, scene[1].boxes)


@settings(deadline=None)
@given(scenes(), st.integers(0, 2**32 - 1))
def test_crop(scene, seed):
    image, target = scene
    cropped, kept = random_crop(image, target, np.random.default_rng(seed))
    assert_sound(cropped, kept)
    assert_on_pixels(cropped, kept)
    for side in (0, 1):
        assert image.shape[side] * 0.4 <= cropped.shape[side] <= image.shape[side]
    assert bool(len(kept)) == bool(len(target))
    flags = dict(zip(target.labels.tolist(), zip(target.difficult, target.crowd, strict=True), strict=True))
    for k, label in enumerate(kept.labels.tolist()):
        assert (kept.difficult[k], kept.crowd[k]) == flags[label]
        whole = target.boxes[target.labels == label][0]
        share = np.prod(kept.boxes[k, 2:] - kept.boxes[k, :2]) / np.prod(whole[2:] - whole[:2])
        assert share >= MIN_VISIBLE - 1e-6
    for label in set(target.labels.tolist()) - set(kept.labels.tolist()):
        # Dropped objects have less than MIN_VISIBLE of their pixels inside, or their centre outside.
        pixels = (cropped == COLOURS[label]).all(axis=2).sum()
        x1, y1, x2, y2 = target.boxes[target.labels == label][0]
        assert pixels < max(MIN_VISIBLE, 0.51) * (x2 - x1) * (y2 - y1)


def test_crop_keeps_objects_with_centre_and_enough_area_inside():
    """The image's pixels encode their position, so that the window can be read from the crop."""
    image = np.zeros((80, 120, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(120), np.arange(80)[:, None]
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 60, (30, 2)) * [1, 0.7]
    target = Target.of(np.concatenate([corner, corner + rng.integers(2, 24, (30, 2))], axis=1), range(30))
    dropped = 0
    for seed in range(40):
        cropped, kept = random_crop(image, target, np.random.default_rng(seed))
        x0, y0 = int(cropped[0, 0, 0]), int(cropped[0, 0, 1])
        x9, y9 = x0 + cropped.shape[1], y0 + cropped.shape[0]
        wanted = {}
        for label, (x1, y1, x2, y2) in enumerate(target.boxes.astype(float).tolist()):
            cut = [max(x1, x0), max(y1, y0), min(x2, x9), min(y2, y9)]
            seen = max(0, cut[2] - cut[0]) * max(0, cut[3] - cut[1])
            centred = x0 < (x1 + x2) / 2 < x9 and y0 < (y1 + y2) / 2 < y9
            if centred and seen >= MIN_VISIBLE * (x2 - x1) * (y2 - y1):
                wanted[label] = [cut[0] - x0, cut[1] - y0, cut[2] - x0, cut[3] - y0]
        assert kept.labels.tolist() == list(wanted)
        np.testing.assert_allclose(kept.boxes, list(wanted.values()), atol=1e-4)
        dropped += len(target) - len(kept)
    assert dropped > 50


@pytest.mark.slow
@settings(deadline=None)
@given(scenes(), st.integers(0, 2**32 - 1))
def test_augment(scene, seed):
    image, target = scene
    before, boxes_before = image.copy(), target.boxes.copy()
    out, kept = augment(image, target, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(target.boxes, boxes_before)
    assert_sound(out, kept)
    again, same = augment(image, target, np.random.default_rng(seed))
    np.testing.assert_array_equal(out, again)
    np.testing.assert_array_equal(kept.boxes, same.boxes)


def test_augment_without_colour_keeps_boxes_on_their_pixels(monkeypatch):
    monkeypatch.setattr("ssd_edge.data.augment.random_colour", lambda image, rng: image)
    image = np.zeros((60, 90, 3), np.uint8)
    image[10:30, 5:25], image[20:50, 40:55], image[5:15, 65:88] = COLOURS
    target = Target.of([[5, 10, 25, 30], [40, 20, 55, 50], [65, 5, 88, 15]], [0, 1, 2])
    sizes, mirrored = set(), 0
    for seed in range(60):
        out, kept = augment(image, target, np.random.default_rng(seed))
        assert_sound(out, kept)
        assert_on_pixels(out, kept)
        sizes.add(out.shape)
        order = kept.labels[np.argsort(kept.boxes[:, 0])].tolist()
        mirrored += order != sorted(order)
    assert len(sizes) > 10
    assert 5 < mirrored < 45


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 30))
def test_colour_keeps_the_shape_and_changes_little(seed, height, width):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    out = random_colour(image, rng)
    assert out.shape == image.shape
    assert out.dtype == np.uint8


def test_colour_changes_grey_by_contrast_and_brightness_only():
    for seed in range(20):
        out = random_colour(np.full((4, 4, 3), 128, np.uint8), np.random.default_rng(seed))
        assert np.ptp(out) <= 1  # grey stays grey
        assert abs(int(out[0, 0, 0]) - 128) <= 33


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_images_of_a_few_pixels(shape):
    image = np.full((*shape, 3), 9, np.uint8)
    target = Target.of([[0, 0, shape[1], shape[0]]], [0])
    for seed in range(30):
        out, kept = augment(image, target, np.random.default_rng(seed))
        assert_sound(out, kept)
        assert len(kept) == 1


def test_no_object():
    for seed in range(20):
        out, kept = augment(np.full((30, 40, 3), 9, np.uint8), Target.of([], []), np.random.default_rng(seed))
        assert_sound(out, kept)
        assert len(kept) == 0
