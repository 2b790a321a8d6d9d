"""Targets of default boxes: objects, background, and boxes left out of the loss."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge import boxes
from ssd_edge.data.augment.geometry import mirror
from ssd_edge.data.dataset import Target
from ssd_edge.models.registry import make_spec
from ssd_edge.training.matching import IGNORE, training_target
from tests.helpers import small_spec

SPEC = small_spec()
DEFAULTS = boxes.default_boxes(SPEC)
SIZE = (100, 200)  # height, width
EDGES = np.asarray([200, 100, 200, 100], np.float32)


def pixels(default: int) -> np.ndarray:
    """A default box in pixels of the image."""
    return boxes.to_xyxy(DEFAULTS[default]) * EDGES


def targets(target: Target, **options):
    loc, classes = training_target(target, SIZE, DEFAULTS, SPEC.variances, **options)
    assert loc.shape == (56, 4)
    assert loc.dtype == np.float32
    assert classes.shape == (56,)
    assert classes.dtype == np.int64
    assert np.isfinite(loc).all()
    return loc, classes


def test_an_object_that_is_a_default_box():
    loc, classes = targets(Target.of([pixels(15)], [1]))
    assert classes[15] == 2
    np.testing.assert_allclose(loc[15], 0, atol=1e-5)


def test_matched_rows_decode_back_to_the_object():
    objects = np.asarray([[20, 30, 77, 61], [120, 5, 190, 95]], np.float32)
    loc, classes = targets(Target.of(objects, [0, 1]))
    decoded = boxes.decode(loc, DEFAULTS, SPEC.variances) * EDGES
    assert set(classes.tolist()) == {0, 1, 2}
    for label in (0, 1):
        rows = classes == label + 1
        np.testing.assert_allclose(decoded[rows], np.broadcast_to(objects[label], (rows.sum(), 4)), atol=1e-2)
    assert not loc[classes == 0].any()


def test_no_object_is_all_background():
    loc, classes = targets(Target.of([], []))
    assert not loc.any()
    assert not classes.any()


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_boxes_on_a_vague_object_are_left_out(flag):
    region = [0, 0, 100, 100]  # the left half
    _, classes = targets(Target.of([region], [0], **{flag: [True]}))
    corners = boxes.to_xyxy(DEFAULTS) * EDGES
    inside = (corners[:, 2] <= 100) & (corners[:, 0] >= 0) & (corners[:, 1] >= 0) & (corners[:, 3] <= 100)
    assert inside.any()
    assert (classes[inside] == IGNORE).all()
    assert (classes[corners[:, 0] >= 100] == 0).all()
    assert set(classes.tolist()) == {0, IGNORE}


def test_an_object_on_a_crowd_stays_an_object():
    _, classes = targets(Target.of([[0, 0, 200, 100], pixels(15)], [0, 1], crowd=[True, False]))
    assert classes[15] == 2
    assert (classes == IGNORE).any()
    assert not (classes == 1).any()


def test_half_of_a_box_on_a_crowd_is_enough_and_less_is_not():
    x1, y1, x2, y2 = pixels(15)
    half = Target.of([[x1, y1, (x1 + x2) / 2 + 0.01, y2]], [0], crowd=[True])
    less = Target.of([[x1, y1, (x1 + x2) / 2 - 0.1, y2]], [0], crowd=[True])
    assert targets(half)[1][15] == IGNORE
    assert targets(less)[1][15] == 0


def test_the_threshold_counts():
    target = Target.of([[20, 30, 77, 61]], [0])
    assert (targets(target, threshold=0.2)[1] == 1).sum() > (targets(target, threshold=0.9)[1] == 1).sum() == 1


def test_more_objects_than_default_boxes():
    target = Target.of([pixels(k % 56) + k / 100 for k in range(70)], [k % 2 for k in range(70)])
    _, classes = targets(target)
    assert (classes > 0).all()


thin = st.sampled_from([1e-7, 1e-5, 1e-3, 1e-2, 0.1, 1.0, 30.0])


@pytest.mark.slow
@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.floats(0, 170), st.floats(0, 70), thin, thin, st.booleans(), st.booleans(), st.integers(0, 1)),
        max_size=6,
    ),
    st.booleans(),
)
def test_targets_are_finite_for_every_sound_box(rows, mirrored):
    """A box of 1e-7 pixels has no area after rounding; it must not put an infinity into the loss."""
    target = Target.of(
        [[x, y, np.nextafter(np.float32(x + w), np.float32(999)), np.float32(y + h)] for x, y, w, h, *_ in rows],
        [row[-1] for row in rows],
        [row[-3] for row in rows],
        [row[-2] for row in rows],
    )
    if mirrored:
        target = mirror(np.zeros((100, 200, 3), np.uint8), target)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, classes = targets(target)
    assert classes.min() >= IGNORE
    assert classes.max() <= 2


def test_a_real_model_matches_objects_of_all_sizes():
    """Each of six object sizes is matched to a default box of SSD300, at an IoU of 0.5 or more."""
    spec = make_spec("ssd300_vgg16", ["object"])
    defaults = boxes.default_boxes(spec)
    for side in (24, 40, 80, 140, 200, 280):
        _, classes = training_target(Target.of([[5, 5, 5 + side, 5 + side]], [0]), (300, 300), defaults, (0.1, 0.2))
        assert (classes == 1).sum() >= 1
