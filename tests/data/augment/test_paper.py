"""The paper's augmentation: its numbers, its conditions, and boxes that stay on their pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.data.augment import paper
from ssd_edge.data.augment.geometry import Window, view
from ssd_edge.data.augment.paper import PATCHES, PaperAugmentation, expansion, for_model, patch, patches
from ssd_edge.data.augment.photometric import Distortion
from ssd_edge.data.dataset import Target
from ssd_edge.preprocess import normalise, preprocess
from tests.data.augment.scenes import (
    assert_flags_carried,
    assert_on_pixels,
    assert_sound,
    scenes,
    three_objects,
)
from tests.helpers import small_spec

seeds = st.integers(0, 2**32 - 1)


def overlap(window, box):
    """Intersection over union in Python's numbers."""
    width = min(window[2], box[2]) - max(window[0], box[0])
    height = min(window[3], box[3]) - max(window[1], box[1])
    shared = max(0, width) * max(0, height)
    union = sum((r[2] - r[0]) * (r[3] - r[1]) for r in (window, box)) - shared
    return shared / union


@settings(deadline=None)
@given(seeds, st.integers(1, 400), st.integers(1, 400))
def test_an_expansion_contains_the_image_and_has_up_to_four_times_its_sides(seed, width, height):
    whole = Window(0, 0, width, height)
    window = expansion(whole, np.random.default_rng(seed))
    assert window.left <= 0 <= window.right - width
    assert window.top <= 0 <= window.bottom - height
    assert width <= window.width <= 4 * width
    assert height <= window.height <= 4 * height
    # The same ratio for both, but for the rounding of each to whole pixels.
    assert abs(window.width / width - window.height / height) <= 1 / min(width, height)


def test_expansions_are_anywhere_and_of_any_ratio():
    """Of 2000 draws, the mean ratio is 2.5 and the image is on the average in the middle: 5 sigma are 0.1 and 0.04."""
    rng = np.random.default_rng(0)
    drawn = [expansion(Window(0, 0, 1000, 500), rng) for _ in range(2000)]
    assert np.mean([one.width / 1000 for one in drawn]) == pytest.approx(2.5, abs=0.1)
    assert np.mean([-one.left / (one.width - 1000) for one in drawn if one.width > 1000]) == pytest.approx(
        0.5, abs=0.04
    )


@settings(deadline=None)
@given(seeds, st.integers(1, 400), st.integers(1, 400), st.integers(-50, 50), st.integers(-50, 50))
def test_patches_lie_in_the_window_and_keep_size_and_aspect(seed, width, height, left, top):
    """Sides are rounded to whole pixels, so the limits hold to half a pixel; the least is a pixel (15 · 0.1 · √½)."""
    window = Window(left, top, left + width, top + height)
    for x1, y1, x2, y2 in patches(window, 50, np.random.default_rng(seed)).tolist():
        assert window.left <= x1 < x2 <= window.right
        assert window.top <= y1 < y2 <= window.bottom
        if min(width, height) < 15:
            continue
        low = np.maximum([x2 - x1 - 0.51, y2 - y1 - 0.51], 0) / [width, height]
        high = np.asarray([x2 - x1 + 0.51, y2 - y1 + 0.51]) / [width, height]
        assert np.sqrt(low.prod()) <= 1
        assert np.sqrt(high.prod()) >= 0.1
        assert high[0] / max(low[1], 1e-9) >= 0.5
        assert low[0] / high[1] <= 2


def test_patches_span_the_papers_ranges():
    drawn = patches(Window(0, 0, 10_000, 10_000), 4000, np.random.default_rng(0))
    sides = (drawn[:, 2:] - drawn[:, :2]) / 10_000
    scale, aspect = np.sqrt(sides.prod(axis=1)), sides[:, 0] / sides[:, 1]
    assert scale.min() == pytest.approx(0.1, abs=0.005)
    assert scale.max() == pytest.approx(1.0, abs=0.005)
    assert aspect.min() == pytest.approx(0.5, abs=0.01)
    assert aspect.max() == pytest.approx(2.0, abs=0.01)


@settings(deadline=None)
@given(scenes(), seeds, st.sampled_from(PATCHES))
def test_the_condition_of_the_patch_holds(scene, seed, least):
    """With one condition alone, the patch meets it or is the whole window."""
    image, target = scene
    whole = Window.whole(image)
    window = patch(whole, target, np.random.default_rng(seed), [least])
    if least is None:
        assert window == whole
    elif least > 0 and window != whole:
        objects = target.boxes[~target.crowd].tolist()
        assert max(overlap(window, box) for box in objects) >= least - 1e-6


@pytest.mark.parametrize("least", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_patches_come_close_to_the_least_iou_and_not_below(least):
    """Of 300 patches, some have an IoU with the object within 3 % of the least."""
    whole, box = Window(0, 0, 1000, 1000), [50, 50, 950, 950]
    rng = np.random.default_rng(0)
    drawn = [patch(whole, Target.of([box], [0]), rng, [least]) for _ in range(300)]
    overlaps = [overlap(one, box) for one in drawn if one != whole]
    assert len(overlaps) > 20
    assert least - 1e-6 <= min(overlaps) < least * 1.03


def test_each_condition_is_as_likely_as_any_other():
    """An object that is the whole window meets every condition: of 7000 draws, a seventh is each (5 sigma: 147).

    Which condition a patch came from is not seen, but the whole window comes from one only, and so does what overlaps
    the object by less than 0.1: from the patches on which there is no condition.
    """
    target = Target.of([[0, 0, 1000, 1000]], [0])
    whole = Window(0, 0, 1000, 1000)
    rng = np.random.default_rng(0)
    drawn = [patch(whole, target, rng) for _ in range(7000)]
    assert sum(one == whole for one in drawn) == pytest.approx(1000, abs=147)
    # IoU with the whole is scale²; a scale below √0.1 has probability (√0.1 − 0.1) / 0.9 = 0.240.
    free = sum(overlap(one, target.boxes[0].tolist()) < 0.1 for one in drawn)
    assert free == pytest.approx(240, abs=5 * 240**0.5)


def test_without_an_object_there_are_whole_windows_and_free_patches():
    """No condition on IoU can be met: of 2000 draws, half are the whole window (5 sigma: 112)."""
    whole = Window(0, 0, 100, 80)
    for target in (Target.of([], []), Target.of([[0, 0, 100, 80]], [0], crowd=[True])):
        rng = np.random.default_rng(0)
        drawn = [patch(whole, target, rng) for _ in range(2000)]
        assert sum(one == whole for one in drawn) == pytest.approx(1000, abs=112)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(scenes(), seeds)
def test_results(scene, seed):
    image, target = scene
    before, boxes_before = image.copy(), target.boxes.copy()
    augment = PaperAugmentation((40, 30), (104, 117, 123))
    out, kept = augment(image, target, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(target.boxes, boxes_before)
    assert out.shape == (40, 30, 3)
    assert_sound(out, kept)
    assert_flags_carried(target, kept)
    again, same = augment(image, target, np.random.default_rng(seed))
    np.testing.assert_array_equal(out, again)
    np.testing.assert_array_equal(kept.boxes, same.boxes)


def test_boxes_stay_on_their_pixels(monkeypatch):
    """All steps but colour, into 400 × 600 pixels: an edge is off by less than a pixel, and half a pixel of the image.

    An object that the patch cuts goes on at the patch's edge, where its colour ends as well.
    """
    monkeypatch.setattr(Distortion, "draw", staticmethod(lambda rng: Distortion()))
    image, target = three_objects()
    augment = PaperAugmentation((400, 600), (0, 0, 0))
    windows = []
    monkeypatch.setattr(paper, "view", lambda *args: windows.append(args[2]) or view(*args))
    compared, mirrored = 0, 0
    for seed in range(80):
        out, kept = augment(image, target, np.random.default_rng(seed))
        assert_sound(out, kept)
        window = windows.pop()
        tolerance = 1 + 0.5 * max(600 / window.width, 400 / window.height)
        assert_on_pixels(out, kept, tolerance)
        compared += len(kept)
        order = kept.labels[np.argsort(kept.boxes[:, 0])].tolist()
        mirrored += order != sorted(order)
    assert compared > 100
    assert 10 < mirrored < 50


def test_the_surroundings_have_the_mean_of_the_model():
    spec = small_spec(mean=(10.2, 20.4, 300.0), channel_order="rgb")
    assert for_model(spec).mean == (255, 20, 10)
    assert for_model(small_spec(mean=(10.2, 20.4, -3.0), channel_order="bgr")).mean == (10, 20, 0)
    assert for_model(spec).size == spec.input_size
    white = np.full((20, 20, 3), 255, np.uint8)
    colours = set()
    for seed in range(40):
        out, _ = PaperAugmentation((32, 32), (1, 2, 3))(white, Target.of([], []), np.random.default_rng(seed))
        colours |= {tuple(out[0, 0].tolist()), tuple(out[-1, -1].tolist())}
    assert (1, 2, 3) in colours


def test_preprocess_does_not_resize_what_comes_out():
    """The random interpolation is the only one: preprocess of an image of the input's size only normalises it."""
    for how in ("linear", "area"):
        spec = small_spec(input_size=(24, 40), resize=how)
        image, target = three_objects()
        out, _ = for_model(spec)(image, target, np.random.default_rng(3))
        np.testing.assert_array_equal(preprocess(out, spec), normalise(out, spec))


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_images_of_a_few_pixels(shape):
    image, target = np.full((*shape, 3), 9, np.uint8), Target.of([[0, 0, shape[1], shape[0]]], [0])
    augment = for_model(small_spec())
    for seed in range(60):
        out, kept = augment(image, target, np.random.default_rng(seed))
        assert out.shape == (32, 32, 3)
        assert_sound(out, kept)
