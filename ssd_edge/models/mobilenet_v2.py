"""MobileNetV2 (arXiv 1801.04381) as an SSDLite backbone; state_dict in torchvision's layout."""

from __future__ import annotations

from torch import nn

from ssd_edge.models.layers import PYTORCH, Block, MobileNet, Style, conv_bn

# Expansion, channels, blocks, stride of the first block (paper, table 2).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
FIRST_TAP = 14
"""The block whose expansion (576 channels, stride 16) is the first feature map."""


class InvertedResidual(Block):
    """Block of expand 1×1, depthwise 3×3, project 1×1, with a shortcut if the shape stays (paper, figure 4)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, style: Style = PYTORCH) -> None:
        hidden = inputs * expansion
        layers: list[nn.Module] = [conv_bn(inputs, hidden, kernel=1, style=style)] if expansion != 1 else []
        layers += [
            conv_bn(hidden, hidden, stride=stride, groups=hidden, style=style),
            style.convolution(hidden, outputs),
            style.norm(outputs),
        ]
        super().__init__("conv", layers, stride == 1 and inputs == outputs)


class MobileNetV2(MobileNet):
    """MobileNetV2 with two feature maps: stride 16 with 576 channels, stride 32 with 1280 channels.

    Args:
        style: padding and BatchNorm settings; torchvision's weights are of PyTorch's defaults.
    """

    channels = (576, 1280)

    def __init__(self, style: Style = PYTORCH) -> None:
        blocks: list[nn.Module] = [conv_bn(3, 32, stride=2, style=style)]
        inputs = 32
        for expansion, outputs, count, stride in STAGES:
            for k in range(count):
                blocks.append(InvertedResidual(inputs, outputs, stride if k == 0 else 1, expansion, style))
                inputs = outputs
        blocks.append(conv_bn(inputs, 1280, kernel=1, style=style))
        super().__init__(blocks, FIRST_TAP)
