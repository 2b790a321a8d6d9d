"""Random images and network outputs for the comparison with ``reference``, without a tie that rounding would decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ssd_edge import boxes
from ssd_edge.data.dataset import Target
from ssd_edge.spec import ModelSpec
from ssd_edge.training.loss import multibox_loss
from ssd_edge.training.matching import training_target
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


class Compared(NamedTuple):
    """Targets and losses of one image, computed by ssd_edge and by the reference.

    Attributes:
        loc, classes: ssd_edge's targets.
        expected: the reference's.
        losses: (total, loc, conf) in float64, for the same random outputs of a network.
        expected_losses: the reference's.
    """

    loc: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]
    expected: reference.Targets
    losses: tuple[float, ...]
    expected_losses: tuple[float, ...]


def compared(spec: ModelSpec, number: int, alpha: float = 1.5) -> Iterator[Compared]:
    """Compute targets and losses of random images in both ways."""
    defaults = boxes.default_boxes(spec)
    rng = np.random.default_rng(number)
    for seed in range(number):
        target, size, expected = case(seed, spec)
        loc, classes = training_target(target, size, defaults, spec.variances)
        predicted, logits = rng.normal(0, 2, (1, len(loc), 4)), rng.normal(0, 3, (1, len(loc), CLASSES))
        ours = multibox_loss(*map(torch.from_numpy, (predicted, logits, loc[None], classes[None])), alpha)
        theirs = reference.multibox(predicted, logits, expected.loc[None], expected.classes[None], alpha, 3.0)
        yield Compared(loc, classes, expected, tuple(one.item() for one in ours), theirs[:3])


def gradients(seed: int, alpha: float = 0.7, step: float = 1e-6) -> Iterator[tuple[reference.Array, reference.Array]]:
    """Compute the gradient to loc, then to logits, of a random batch: by autograd, and by central differences.

    The step changes no choice of negatives, since these differ by more than it in their losses. The batch of seed 0 has
    no object.
    """
    rng = np.random.default_rng(seed)
    class_target = rng.choice([0, 0, 0, 0, 1, 2, reference.IGNORE], (2, 12))
    if seed == 0:
        class_target[class_target > 0] = 0
    loc, loc_target = rng.normal(0, 1.5, (2, 2, 12, 4))
    logits = rng.normal(0, 2, (2, 12, 3))
    while reference.multibox(loc, logits, loc_target, class_target, alpha, 3.0).margin < 100 * step:
        logits = rng.normal(0, 2, (2, 12, 3))
    tensors = [torch.tensor(part, requires_grad=True) for part in (loc, logits)]
    multibox_loss(*tensors, torch.from_numpy(loc_target), torch.from_numpy(class_target), alpha).total.backward()
    for values, tensor in zip((loc, logits), tensors, strict=True):
        differences = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            kept = values[place]
            sides = []
            for values[place] in (kept + step, kept - step):
                sides.append(reference.multibox(loc, logits, loc_target, class_target, alpha, 3.0).total)
            values[place] = kept
            differences[place] = (sides[0] - sides[1]) / (2 * step)
        assert tensor.grad is not None
        yield tensor.grad.numpy(), differences
