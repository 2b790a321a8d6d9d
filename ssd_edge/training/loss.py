"""Compute the MultiBox loss (SSD paper, equation 1): L = (L_conf + α·L_loc) / N."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssd_edge.training.matching import IGNORE
from ssd_edge.training.processes import mean_over_processes, number_of_processes


class Losses(NamedTuple):
    """Losses of a batch as scalars, each divided by N."""

    total: Tensor
    loc: Tensor
    conf: Tensor


def multibox_loss(
    loc: Tensor,
    logits: Tensor,
    loc_target: Tensor,
    class_target: Tensor,
    alpha: float = 1.0,
    negatives_per_positive: float = 3.0,
) -> Losses:
    """Sum smooth L1 over matched boxes, and softmax loss over matched boxes and the hardest negatives of each image.

    N is the number of matched boxes in the batch, see ``matched_boxes``. An image without objects has no positives to
    count negatives by and would teach nothing, so it gets the negatives of an image with one matched box.

    Args:
        loc: (B, A, 4) predicted offsets.
        logits: (B, A, C), class 0 background.
        loc_target: (B, A, 4), read at matched boxes only.
        class_target: (B, A) int64: 0 background, above 0 a class, ``IGNORE`` left out.
        alpha: weight of L_loc.
        negatives_per_positive: ratio of hard negative mining (paper, section 2.2).
    """
    positive = class_target > 0
    count = matched_boxes(class_target).to(logits.dtype)
    loc_loss = F.smooth_l1_loss(loc[positive], loc_target[positive], reduction="sum")
    box_loss = F.cross_entropy(
        logits.flatten(0, 1), class_target.flatten(), ignore_index=IGNORE, reduction="none"
    ).view_as(class_target)
    chosen = positive | hard_negatives(box_loss.detach(), class_target, negatives_per_positive)
    conf_loss = box_loss[chosen].sum()
    return Losses((conf_loss + alpha * loc_loss) / count, loc_loss / count, conf_loss / count)


def matched_boxes(class_target: Tensor) -> Tensor:
    """Count the matched boxes in (B, A) class targets, as a float: the mean over the processes that train together.

    At least 1 are counted in all processes together. Their gradients are averaged too, so their batches count as one.
    """
    return mean_over_processes((class_target > 0).sum().float()).clamp(min=1 / number_of_processes())


def hard_negatives(loss: Tensor, class_target: Tensor, ratio: float) -> Tensor:
    """Choose, as (B, A) bool, the ``ratio`` · max(1, matched boxes) background boxes of highest loss in each image."""
    positives = (class_target > 0).sum(dim=1, keepdim=True).clamp(min=1)
    number = (positives * ratio).long()
    background_loss = torch.where(class_target == 0, loss, loss.new_tensor(-1.0))
    rank = background_loss.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (rank < number) & (class_target == 0)
