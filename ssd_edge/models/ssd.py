"""The SSD: images → backbone → extra feature layers → one head a feature map → loc and logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ssd_edge.spec import ModelSpec


class Backbone(Protocol):
    """What an SSD needs of a backbone."""

    channels: tuple[int, ...]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) → feature maps, largest first."""

    def load(self, state: dict[str, Tensor]) -> None:
        """Take weights in torchvision's layout."""


class SSD(nn.Module):
    """Single Shot MultiBox Detector (arXiv 1512.02325, figure 2). Heads only: decode is not part of the network.

    Args:
        spec: gives classes and default boxes.
        backbone: the first feature maps.
        extras: each makes the next feature map from the last one.
        loc_heads: for each feature map, boxes·4 channels.
        class_heads: for each feature map, boxes·C channels.
    """

    def __init__(
        self,
        spec: ModelSpec,
        backbone: nn.Module,
        extras: Sequence[nn.Module],
        loc_heads: Sequence[nn.Module],
        class_heads: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbone
        self.extras = nn.ModuleList(extras)
        self.loc_heads = nn.ModuleList(loc_heads)
        self.class_heads = nn.ModuleList(class_heads)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised images → loc (B, A, 4), logits (B, A, C), in the order of the default boxes."""
        maps: list[Tensor] = self.backbone(images)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        batch = images.shape[0]
        loc = [self._rows(head(x), batch, 4) for head, x in zip(self.loc_heads, maps, strict=True)]
        classes = self.spec.num_classes
        logits = [self._rows(head(x), batch, classes) for head, x in zip(self.class_heads, maps, strict=True)]
        return torch.cat(loc, dim=1), torch.cat(logits, dim=1)

    @staticmethod
    def _rows(head: Tensor, batch: int, values: int) -> Tensor:
        """(B, boxes·values, rows, columns) → (B, rows·columns·boxes, values)."""
        return head.permute(0, 2, 3, 1).reshape(batch, -1, values)
