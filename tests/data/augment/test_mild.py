"""The mild augmentation: boxes stay on their objects' pixels, and inside the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.data.augment.mild import MIN_VISIBLE, augment, random_colour, random_crop
from ssd_edge.data.dataset import Target
from tests.data.augment.scenes import (
    COLOURS,
    assert_flags_carried,
    assert_on_pixels,
    assert_sound,
    scenes,
    three_objects,
)


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
    assert_flags_carried(target, kept)
    for k, label in enumerate(kept.labels.tolist()):
        if kept.crowd[k]:
            continue  # is kept as far as it is seen
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
    monkeypatch.setattr("ssd_edge.data.augment.mild.random_colour", lambda image, rng: image)
    image, target = three_objects()
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
