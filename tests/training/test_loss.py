"""MultiBox loss against ``reference``, which writes out the paper's equations image by image and box by box."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_edge.training.loss import hard_negatives, multibox_loss
from ssd_edge.training.matching import IGNORE
from tests.training import reference


def random_case(seed, batch, count, classes, share, ignored):
    rng = np.random.default_rng(seed)
    loc, loc_target = rng.normal(0, 2, (2, batch, count, 4)).astype(np.float32)
    logits = rng.normal(0, 3, (batch, count, classes)).astype(np.float32)
    target = np.where(rng.random((batch, count)) < share, rng.integers(1, classes, (batch, count)), 0)
    target[rng.random((batch, count)) < ignored] = IGNORE
    return loc, logits, loc_target, target.astype(np.int64)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 4),
    count=st.integers(1, 60),
    classes=st.integers(2, 6),
    share=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    alpha=st.sampled_from([0.0, 1.0, 2.5]),
    ratio=st.sampled_from([1.0, 3.0]),
)
def test_equals_the_reference(seed, batch, count, classes, share, ignored, alpha, ratio):
    """Relative tolerance 1e-4: float32 sums of up to 240 boxes."""
    case = random_case(seed, batch, count, classes, share, ignored)
    tensors = [torch.from_numpy(part) for part in case]
    tensors[0].requires_grad_()
    tensors[1].requires_grad_()
    losses = multibox_loss(*tensors, alpha, ratio)
    for ours, expected in zip(losses, reference.multibox(*case, alpha, ratio), strict=False):
        assert ours.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    losses.total.backward()
    assert torch.isfinite(tensors[0].grad).all()
    assert torch.isfinite(tensors[1].grad).all()
    unmatched = torch.from_numpy(case[3] <= 0)
    assert not tensors[0].grad[unmatched].any()
    assert not tensors[1].grad[torch.from_numpy(case[3] == IGNORE)].any()


def test_an_image_with_no_object_teaches_its_three_hardest_boxes():
    logits = torch.zeros(1, 10, 3, requires_grad=True)
    with torch.no_grad():
        logits[0, 4:7, 1] = torch.tensor([5.0, 6.0, 7.0])
    losses = multibox_loss(torch.zeros(1, 10, 4), logits, torch.zeros(1, 10, 4), torch.zeros(1, 10, dtype=torch.int64))
    losses.total.backward()
    assert logits.grad.abs().sum(dim=2)[0].nonzero().flatten().tolist() == [4, 5, 6]
    assert losses.loc.item() == 0


def test_negatives_are_mined_in_each_image_for_itself():
    target = torch.zeros(2, 20, dtype=torch.int64)
    target[0, :4] = 1
    loss = torch.rand(2, 20)
    loss[0] += 100  # all of image 0 is harder than all of image 1
    mined = hard_negatives(loss, target, 3)
    assert mined.sum(dim=1).tolist() == [12, 3]
    assert not mined[target > 0].any()
    for b in range(2):
        free = target[b] == 0
        assert loss[b][mined[b]].min() >= loss[b][free & ~mined[b]].max()


def test_never_more_negatives_than_there_are():
    target = torch.tensor([[1, 1, 0, IGNORE]])
    assert hard_negatives(torch.ones(1, 4), target, 3).tolist() == [[False, False, True, False]]


def test_equal_losses_are_taken_in_order():
    assert hard_negatives(torch.zeros(1, 6), torch.zeros(1, 6, dtype=torch.int64), 3).tolist() == [
        [True] * 3 + [False] * 3
    ]


def test_perfect_answers_cost_nothing():
    target = torch.tensor([[1, 2, 0, 0]])
    logits = torch.nn.functional.one_hot(target, 3).float() * 50
    loc = torch.randn(1, 4, 4)
    assert multibox_loss(loc, logits, loc, target).total.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("where", ["loc", "logits"])
def test_not_a_number_is_not_hidden(where):
    parts = {"loc": torch.zeros(1, 8, 4), "logits": torch.zeros(1, 8, 3)}
    parts[where][0, 0, 0] = math.nan
    target = torch.zeros(1, 8, dtype=torch.int64)
    target[0, 0] = 1
    assert torch.isnan(multibox_loss(parts["loc"], parts["logits"], torch.zeros(1, 8, 4), target).total)
