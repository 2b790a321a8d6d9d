"""MultiBox loss (SSD paper, equation 1): L = (L_conf + α·L_loc) / N."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssd_edge.training.matching import IGNORE


class Losses(NamedTuple):
    """Scalars, each already divided by N."""

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
    """Smooth L1 over matched boxes, softmax loss over them and the hardest negatives of each image.

    N is the number of matched boxes in the batch, 1 where there is none. An image with no object would teach nothing
    under a ratio to zero, so it is given the negatives of an image with one.

    Args:
        loc: (B, A, 4).
        logits: (B, A, C), class 0 background.
        loc_target: (B, A, 4), read at matched boxes only.
        class_target: (B, A) int64: 0 background, above 0 a class, ``IGNORE`` left out.
        alpha: weight of L_loc.
        negatives_per_positive: hard negative mining (paper, section 2.2).
    """
    positive = class_target > 0
    count = positive.sum().clamp(min=1).to(logits.dtype)
    loc_loss = F.smooth_l1_loss(loc[positive], loc_target[positive], reduction="sum")
    each = F.cross_entropy(logits.flatten(0, 1), class_target.flatten(), ignore_index=IGNORE, reduction="none").view_as(
        class_target
    )
    chosen = positive | hard_negatives(each.detach(), class_target, negatives_per_positive)
    conf_loss = each[chosen].sum()
    return Losses((conf_loss + alpha * loc_loss) / count, loc_loss / count, conf_loss / count)


def hard_negatives(loss: Tensor, class_target: Tensor, ratio: float) -> Tensor:
    """(B, A) bool: the background boxes of highest loss, ``ratio`` times as many as the image has matched boxes."""
    positives = (class_target > 0).sum(dim=1, keepdim=True).clamp(min=1)
    number = (positives * ratio).long()
    mined = torch.where(class_target == 0, loss, loss.new_tensor(-1.0))
    rank = mined.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (rank < number) & (class_target == 0)
