"""MobileNetV3-Large (arXiv 1905.02244) as an SSDLite backbone; state_dict in torchvision's layout."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ssd_edge.models.layers import Activation, Block, MobileNet, Style, conv_bn


class Row(NamedTuple):
    """A row of the paper's table 1."""

    kernel: int
    expanded: int
    outputs: int
    squeeze: bool
    hard_swish: bool
    stride: int


FIRST_ROWS = (
    Row(3, 16, 16, False, False, 1),
    Row(3, 64, 24, False, False, 2),
    Row(3, 72, 24, False, False, 1),
    Row(5, 72, 40, True, False, 2),
    Row(5, 120, 40, True, False, 1),
    Row(5, 120, 40, True, False, 1),
    Row(3, 240, 80, False, True, 2),
    Row(3, 200, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 184, 80, False, True, 1),
    Row(3, 480, 112, True, True, 1),
    Row(3, 672, 112, True, True, 1),
)
TAIL = 160
"""Output channels of the last three blocks; 80 in the reduced tail for detection (paper, section 6.3)."""
FIRST_TAP = 13
"""The block whose expansion (672 channels, stride 16) is the first feature map."""
TORCHVISION = Style(eps=1e-3, momentum=0.01)
"""BatchNorm settings with which torchvision's weights were trained."""


def rows(tail: int) -> tuple[Row, ...]:
    """Return all rows of the paper's table 1 for a number of output channels of the last three blocks."""
    last = Row(5, 6 * tail, tail, True, True, 1)
    return (*FIRST_ROWS, Row(5, 672, tail, True, True, 2), last, last)


def _block_activation(hard_swish: bool) -> Activation:
    return nn.Hardswish if hard_swish else (lambda: nn.ReLU(inplace=True))


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate computed from the whole feature map (paper, section 5.3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, (channels // 4 + 4) // 8 * 8)
        if squeezed < 0.9 * (channels // 4):
            squeezed += 8
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.activation = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, H, W) → the same shape."""
        gate: Tensor = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return x * gate


class InvertedResidual(Block):
    """MobileNetV3's block (paper, figure 4)."""

    def __init__(self, inputs: int, row: Row, style: Style) -> None:
        activation = _block_activation(row.hard_swish)

        def layer(a: int, b: int, kernel: int, stride: int, groups: int, act: Activation | None) -> nn.Module:
            return conv_bn(a, b, kernel, stride, groups, act, style)

        layers: list[nn.Module] = []
        if row.expanded != inputs:
            layers.append(layer(inputs, row.expanded, 1, 1, 1, activation))
        layers.append(layer(row.expanded, row.expanded, row.kernel, row.stride, row.expanded, activation))
        if row.squeeze:
            layers.append(SqueezeExcitation(row.expanded))
        layers.append(layer(row.expanded, row.outputs, 1, 1, 1, None))
        super().__init__("block", layers, row.stride == 1 and inputs == row.outputs)


class MobileNetV3Large(MobileNet):
    """MobileNetV3-Large with two feature maps: stride 16 with 672 channels, stride 32 with six times the tail's.

    Args:
        tail: output channels of the last three blocks.
        style: BatchNorm settings.
    """

    def __init__(self, tail: int = TAIL, style: Style = TORCHVISION) -> None:
        swish = _block_activation(True)
        blocks: list[nn.Module] = [conv_bn(3, 16, 3, 2, 1, swish, style)]
        inputs = 16
        for row in rows(tail):
            blocks.append(InvertedResidual(inputs, row, style))
            inputs = row.outputs
        blocks.append(conv_bn(inputs, 6 * tail, 1, 1, 1, swish, style))
        super().__init__(blocks, FIRST_TAP)
        self.channels = (672, 6 * tail)
