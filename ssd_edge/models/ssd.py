"""The SSD network: images → backbone → extra feature layers → one pair of heads per feature map → loc and logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ssd_edge.spec import ModelSpec


class Backbone(Protocol):
    """The interface that an SSD needs of a backbone."""

    channels: tuple[int, ...]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Compute feature maps of (B, 3, H, W) images, largest first."""

    def load(self, state: dict[str, Tensor]) -> None:
        """Load weights in torchvision's layout."""


class SSD(nn.Module):
    """Single Shot MultiBox Detector (arXiv 1512.02325, figure 2) up to its heads; decode is not part of the network.

    Args:
        spec: gives classes and default boxes.
        backbone: computes the first feature maps.
        extras: layers that each compute a further feature map from the previous one.
        loc_heads: one for each feature map, with boxes·4 output channels.
        class_heads: one for each feature map, with boxes·C output channels.
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
        """Compute loc (B, A, 4) and logits (B, A, C) of (B, 3, H, W) normalised images, in order of default boxes."""
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
        """Reshape (B, boxes·values, rows, columns) to (B, rows·columns·boxes, values)."""
        return head.permute(0, 2, 3, 1).reshape(batch, -1, values)
