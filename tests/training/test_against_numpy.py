"""Targets and loss against ``reference``, from boxes in pixels to the gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssd_edge import boxes
from ssd_edge.data.dataset import Target
from ssd_edge.models.registry import make_spec
from ssd_edge.training.loss import multibox_loss
from ssd_edge.training.matching import training_target
from tests.helpers import small_spec
from tests.training import reference

MARGIN = 1e-5
"""Least margin of each decision: float32's IoU of boxes in fractions is off by some 1e-7."""

CLASSES = 4


def an_object(rng, defaults, size):
    """Draw a box in pixels, xyxy float32 as in ``Target``: near a default box, or anywhere."""
    if rng.random() < 0.6:
        cx, cy, w, h = defaults[rng.integers(len(defaults))]
        w, h = (w, h) * rng.uniform(0.75, 1.3, 2)
        cx, cy = (cx, cy) + rng.uniform(-0.15, 0.15, 2) * (w, h)
        box = np.asarray([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).clip(0, 1)
    else:
        corner = rng.uniform(0, 0.8, 2)
        box = np.concatenate([corner, corner + rng.uniform(0.02, 1.0, 2) * (1 - corner)])
    return (box * [size[1], size[0], size[1], size[0]]).astype(np.float32)


def case(seed, spec):
    """Draw an image's objects one after another; one that brings a tie closer than ``MARGIN`` is drawn again.

    Returns:
        The target, the image's (height, width), and the reference's targets.
    """
    rng = np.random.default_rng(seed)
    defaults = boxes.default_boxes(spec).astype(np.float64)
    size = tuple(rng.integers(50, 700, 2).tolist())
    edges = np.asarray([size[1], size[0], size[1], size[0]], np.float64)
    rows, labels, vague = [], [], []
    result = reference.targets(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool), defaults, spec.variances)
    for _ in range(rng.integers(7)):
        label, is_vague = int(rng.integers(CLASSES - 1)), bool(rng.random() < 0.2)
        for _ in range(300):
            box = an_object(rng, defaults, size)
            with_it = np.asarray([*rows, box], np.float64) / edges
            tried = reference.targets(
                with_it, np.asarray([*labels, label]), np.asarray([*vague, is_vague]), defaults, spec.variances
            )
            if tried.margin >= MARGIN:
                break
        else:
            raise AssertionError("no object without a tie in 300 draws")
        rows, labels, vague, result = [*rows, box], [*labels, label], [*vague, is_vague], tried
    crowd = np.asarray([flag and k % 2 == 0 for k, flag in enumerate(vague)], bool)
    return Target.of(rows, labels, np.asarray(vague, bool) & ~crowd, crowd), size, result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "number"), [(small_spec(), 100), (make_spec("ssdlite300_mobilenet_v2", ["a", "b", "c"]), 6)]
)
def test_targets_and_loss(spec, number):
    """In all cases, the classes are equal; the loss differs by 1e-6 of itself at most.

    A loc target is rounded in float32: coordinates of up to 1 by 2^-24 in each of about four steps, which the side of
    the default box (for the centre) or of the object (for the size) and the variance then divide.
    """
    defaults = boxes.default_boxes(spec)
    rng = np.random.default_rng(number)
    matched = 0
    for seed in range(number):
        target, size, expected = case(seed, spec)
        loc, classes = training_target(target, size, defaults, spec.variances)
        np.testing.assert_array_equal(classes, expected.classes)
        sides = defaults[:, 2:].astype(np.float64)
        object_sides = sides * np.exp(expected.loc[:, 2:] * spec.variances[1])
        divisors = np.concatenate([sides * spec.variances[0], object_sides * spec.variances[1]], axis=1)
        tolerance = 4 * 2.0**-24 * (1 / divisors + np.abs(expected.loc))
        assert (np.abs(loc - expected.loc) <= tolerance).all()
        matched += int((classes > 0).sum())
        predicted, logits = rng.normal(0, 2, (1, len(loc), 4)), rng.normal(0, 3, (1, len(loc), CLASSES))
        ours = multibox_loss(
            *(torch.from_numpy(part) for part in (predicted, logits, loc[None], classes[None])), alpha=1.5
        )
        theirs = reference.multibox(predicted, logits, expected.loc[None], expected.classes[None], 1.5, 3.0)
        for name in ("total", "loc", "conf"):
            assert getattr(ours, name).item() == pytest.approx(getattr(theirs, name), rel=1e-6, abs=1e-12)
    assert matched > 3 * number


@pytest.mark.parametrize("seed", range(6))
def test_gradients_are_finite_differences_of_the_reference(seed):
    """Central differences with a step of 1e-6 in float64: the rounding of a loss of about 10 is 1e-15 / 1e-6 = 1e-9.

    The step changes no choice of negatives, since these differ by more than it in their losses.
    """
    rng = np.random.default_rng(seed)
    step = 1e-6
    class_target = rng.choice([0, 0, 0, 0, 1, 2, reference.IGNORE], (2, 12))
    if seed == 0:
        class_target[class_target > 0] = 0  # no object in the batch
    loc, loc_target = rng.normal(0, 1.5, (2, 2, 12, 4))
    margin = 0.0
    while margin < 1e-4:
        logits = rng.normal(0, 2, (2, 12, 3))
        margin = reference.multibox(loc, logits, loc_target, class_target, 0.7, 3.0).margin
    tensors = [torch.tensor(part, requires_grad=True) for part in (loc, logits)]
    multibox_loss(*tensors, torch.from_numpy(loc_target), torch.from_numpy(class_target), 0.7).total.backward()
    for values, tensor in zip((loc, logits), tensors, strict=True):
        expected = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            kept = values[place]
            sides = []
            for values[place] in (kept + step, kept - step):
                sides.append(reference.multibox(loc, logits, loc_target, class_target, 0.7, 3.0).total)
            values[place] = kept
            expected[place] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=0, atol=1e-7)
        assert expected.any() or seed == 0


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
