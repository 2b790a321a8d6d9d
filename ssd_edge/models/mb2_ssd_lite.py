"""The network ``mb2-ssd-lite`` of github.com/qfgaohao/pytorch-ssd (vision/ssd/mobilenet_v2_ssd_lite.py)."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ssd_edge.models.layers import ReLU6, conv_bn
from ssd_edge.models.mobilenet_v2 import MobileNetV2
from ssd_edge.models.ssd import SSD
from ssd_edge.spec import ModelSpec

CHANNELS = (*MobileNetV2.channels, 512, 256, 256, 64)
"""Channels of the feature maps, largest map first."""
MIDDLE = (256, 128, 128, 64)
"""Channels inside each extra layer."""


def mb2_ssd_lite(spec: ModelSpec) -> SSD:
    """Make it: extra layers end without an activation, and the head of the last map is a 1×1 convolution."""
    extras = [_extra(a, middle, b) for (a, b), middle in zip(pairwise(CHANNELS[1:]), MIDDLE, strict=True)]
    boxes = [len(level.sizes) for level in spec.levels]

    def heads(values: int) -> list[nn.Module]:
        outputs = [values * n for n in boxes]
        separable = [_head(c, n) for c, n in zip(CHANNELS[:-1], outputs[:-1], strict=True)]
        return [*separable, nn.Conv2d(CHANNELS[-1], outputs[-1], 1)]

    return SSD(spec, MobileNetV2(), extras, heads(4), heads(spec.num_classes))


def _extra(inputs: int, middle: int, outputs: int) -> nn.Sequential:
    """Make an inverted residual of stride 2, with MobileNetV2's names."""
    return nn.Sequential(
        conv_bn(inputs, middle, kernel=1),
        conv_bn(middle, middle, stride=2, groups=middle),
        nn.Conv2d(middle, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _head(inputs: int, outputs: int) -> nn.Sequential:
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)  # with a bias, in front of BatchNorm too
    return nn.Sequential(depthwise, nn.BatchNorm2d(inputs), ReLU6(), nn.Conv2d(inputs, outputs, 1))
