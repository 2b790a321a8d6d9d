"""UltraFace RFB-320, a face detector of 1.1 MB; layers as in its source.

Source: github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, vision/nn/mb_tiny_RFB.py and
vision/ssd/mb_tiny_RFB_fd.py. The receptive field block is that of arXiv 1711.07767.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ssd_edge.models.ssd import SSD
from ssd_edge.spec import ModelSpec

# Output channels and stride of each depthwise-separable block; "RFB" is the receptive field block.
BLOCKS = ((32, 1), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1), "RFB", (128, 2), (128, 1), (128, 1), (256, 2), (256, 1))
TAPS = (8, 11, 13)
"""Number of modules in ``features`` up to each feature map."""


class UltraFaceBackbone(nn.Module):
    """The backbone with three feature maps: strides 8, 16 and 32, with 64, 128 and 256 channels."""

    channels = (64, 128, 256)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*_conv(3, 16, stride=2))]
        inputs = 16
        for block in BLOCKS:
            if isinstance(block, str):
                layers.append(ReceptiveFieldBlock(inputs))
                continue
            outputs, stride = block
            depthwise, pointwise = _conv(inputs, inputs, stride=stride, groups=inputs), _conv(inputs, outputs, kernel=1)
            layers.append(nn.Sequential(*depthwise, *pointwise))
            inputs = outputs
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute feature maps of (B, 3, H, W) images, largest first."""
        maps, start = [], 0
        for tap in TAPS:
            images = self.features[start:tap](images)
            maps.append(images)
            start = tap
        return maps

    def load(self, state: dict[str, Tensor]) -> None:
        """Load weights by the names of this module.

        Raises:
            RuntimeError: a weight is missing or has another shape.
        """
        self.load_state_dict(state)


class ReceptiveFieldBlock(nn.Module):
    """Three branches of growing dilation beside each other, joined and added to a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = channels // 8
        self.branch0 = _branch(channels, (few, 2 * few), dilation=2)
        self.branch1 = _branch(channels, (few, 2 * few), dilation=3)
        self.branch2 = _branch(channels, (few, few // 2 * 3, 2 * few), dilation=5)
        self.join = nn.Sequential(*_conv(6 * few, channels, kernel=1, relu=False))
        self.shortcut = nn.Sequential(*_conv(channels, channels, kernel=1, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, H, W) → the same shape."""
        joined = self.join(torch.cat([self.branch0(x), self.branch1(x), self.branch2(x)], dim=1))
        return torch.relu(joined + self.shortcut(x))


def ultraface_rfb(spec: ModelSpec) -> SSD:
    """Make UltraFace RFB: its backbone, one extra layer, and heads without BatchNorm."""
    extra = nn.Sequential(nn.Conv2d(256, 64, 1), nn.ReLU(), _separable(64, 256, stride=2), nn.ReLU())
    boxes = [len(level.sizes) for level in spec.levels]

    def heads(values: int) -> list[nn.Module]:
        outputs = [values * n for n in boxes]
        separable = [_separable(c, n) for c, n in zip(UltraFaceBackbone.channels, outputs[:-1], strict=True)]
        return [*separable, nn.Conv2d(256, outputs[-1], 3, padding=1)]

    return SSD(spec, UltraFaceBackbone(), [extra], heads(4), heads(spec.num_classes))


def _conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, dilation: int = 1, relu: bool = True
) -> list[nn.Module]:
    padding = dilation * (kernel - 1) // 2
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), *([nn.ReLU(inplace=True)] if relu else [])]


def _branch(inputs: int, widths: tuple[int, ...], dilation: int) -> nn.Sequential:
    """Make a branch: 1×1 squeeze, 3×3 convolutions, and a dilated one without activation."""
    parts = [_conv(inputs, widths[0], kernel=1, relu=False)]
    parts += [_conv(a, b) for a, b in pairwise(widths)]
    parts.append(_conv(widths[-1], widths[-1], dilation=dilation, relu=False))
    return nn.Sequential(*(nn.Sequential(*part) for part in parts))


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Make a depthwise 3×3 and a pointwise convolution, both with a bias."""
    depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs)
    return nn.Sequential(depthwise, nn.ReLU(), nn.Conv2d(inputs, outputs, 1))
