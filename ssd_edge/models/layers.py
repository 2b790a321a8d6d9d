"""Layers that the MobileNets and the SSDLite heads share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

Activation = Callable[[], nn.Module]


class ReLU6(nn.ReLU6):
    """MobileNetV2's activation, in place, with a gradient that is made from its result.

    PyTorch's own needs its input for the gradient, and so each feature map would be kept twice until then; the result
    is kept for the next layer anyway, and tells as much: the gradient passes where it lies between 0 and 6.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute min(max(x, 0), 6) of any shape; in training, in the place of ``x``."""
        if not (self.training and x.requires_grad):
            return super().forward(x)
        y: Tensor = _ReLU6.apply(x)  # type: ignore[no-untyped-call]
        return y


class _ReLU6(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        context.mark_dirty(x)
        x.clamp_(0, 6)
        context.save_for_backward(x)
        return x

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (y,) = context.saved_tensors
        passed: Tensor = torch.ops.aten.hardtanh_backward(gradient, y, 0.0, 6.0)
        return passed


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": of an odd number of rows, one more is added below, of columns right.

    With stride 2 on an even size, PyTorch's padding of 1 begins one pixel further up and left than this does.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, H, W) → (B, C', ⌈H/stride⌉, ⌈W/stride⌉)."""
        # What all sides have in common is left to the convolution: padding by itself copies the whole feature map.
        common, more = [], []
        for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            missing = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            common.append(missing // 2)
            more.append(missing % 2)
        if any(more):
            x = nn.functional.pad(x, (0, more[1], 0, more[0]))
        return nn.functional.conv2d(x, self.weight, self.bias, self.stride, common, self.dilation, self.groups)


class Style(NamedTuple):
    """What published networks of the same shape differ in.

    Attributes:
        eps: added to BatchNorm's variance.
        momentum: of BatchNorm's running statistics.
        same_padding: pad as TensorFlow does, see ``SameConv2d``; otherwise (kernel − 1) / 2 on each side.
    """

    eps: float = 1e-5
    momentum: float = 0.1
    same_padding: bool = False

    def convolution(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
        """Make a convolution without bias that keeps the size, or divides it by the stride."""
        if self.same_padding:
            return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """Make a BatchNorm."""
        return nn.BatchNorm2d(channels, eps=self.eps, momentum=self.momentum)


PYTORCH = Style()
"""PyTorch's own defaults."""


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = ReLU6,
    style: Style = PYTORCH,
) -> nn.Sequential:
    """Make a convolution (same padding, no bias), BatchNorm and activation; torchvision's names "0", "1", "2"."""
    layers: list[nn.Module] = [style.convolution(inputs, outputs, kernel, stride, groups), style.norm(outputs)]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def separable_head(inputs: int, outputs: int, style: Style = PYTORCH) -> nn.Sequential:
    """Make SSDLite's predictor: depthwise 3×3, then pointwise (MobileNetV2 paper, section 6.2)."""
    return nn.Sequential(conv_bn(inputs, inputs, groups=inputs, style=style), nn.Conv2d(inputs, outputs, 1))


def separable_extra(inputs: int, outputs: int, style: Style = PYTORCH) -> nn.Sequential:
    """Make SSDLite's extra feature layer of half the resolution: 1×1 squeeze, depthwise 3×3 stride 2, 1×1 expand."""
    middle = outputs // 2
    return nn.Sequential(
        conv_bn(inputs, middle, kernel=1, style=style),
        conv_bn(middle, middle, stride=2, groups=middle, style=style),
        conv_bn(middle, outputs, kernel=1, style=style),
    )


class Block(nn.Module):
    """A block of expand, depthwise and project, with a shortcut if the shape stays (MobileNetV2 paper, figure 4).

    Args:
        name: torchvision's name for the layers.
        layers: the layers; if there is an expansion, it is the first of them.
        shortcut: whether the input is added to the output.
    """

    def __init__(self, name: str, layers: list[nn.Module], shortcut: bool) -> None:
        super().__init__()
        self._name = name
        self.add_module(name, nn.Sequential(*layers))
        self.shortcut = shortcut

    @property
    def layers(self) -> nn.Sequential:
        """The layers of the block."""
        return cast(nn.Sequential, self.get_submodule(self._name))

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C, H, W) → (B, C', H/stride, W/stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.shortcut else y


class MobileNet(nn.Module):
    """A MobileNet's convolutions with two feature maps: one from inside the tapped block, one from the end.

    Args:
        features: all blocks.
        tap: index of the ``Block`` whose expansion is the first feature map (MobileNetV2 paper, section 6.2).
    """

    def __init__(self, features: list[nn.Module], tap: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self._tap = tap
        tapped = features[tap]
        assert isinstance(tapped, Block)
        self._inside = [tapped.layers]  # a list keeps it from being registered as a module a second time

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute feature maps of (B, 3, H, W) images, largest first."""
        first: Tensor = self._inside[0][0](self.features[: self._tap](images))
        last: Tensor = self.features[self._tap + 1 :](self._inside[0][1:](first))
        return [first, last]

    def load(self, state: dict[str, Tensor]) -> None:
        """Load weights in torchvision's classification layout, without its classifier.

        Raises:
            RuntimeError: a feature weight is missing or has another shape.
        """
        self.load_state_dict({k: v for k, v in state.items() if k.startswith("features.")})
