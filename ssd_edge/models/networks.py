"""Make the untrained networks of the published models, each from a spec; ``registry`` lists them by name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from ssd_edge.errors import ModelError
from ssd_edge.models.layers import PYTORCH, Style, separable_extra, separable_head
from ssd_edge.models.mobilenet_v2 import MobileNetV2
from ssd_edge.models.mobilenet_v3 import MobileNetV3Large
from ssd_edge.models.ssd import SSD
from ssd_edge.models.vgg16 import VGG16
from ssd_edge.spec import ModelSpec

TORCHVISION_SSDLITE = Style(eps=1e-3, momentum=0.03)
"""torchvision's BatchNorm settings in all of its SSDLite, also in extra layers and heads."""
TENSORFLOW = Style(eps=1e-3, same_padding=True)
"""Settings of the SSDLites of TensorFlow's Object Detection API, as their frozen graphs hold them."""


def ssd300_vgg16(spec: ModelSpec) -> SSD:
    """Make SSD300 (arXiv 1512.02325): VGG-16, and extra feature maps of 10, 5, 3 and 1 cells per side."""
    return _ssd300(spec, VGG16())


def ssd300_vgg16_batchnorm(spec: ModelSpec) -> SSD:
    """Make SSD300 with a BatchNorm on conv4_3 in place of L2Norm: qfgaohao/pytorch-ssd's ``vgg16-ssd``."""
    return _ssd300(spec, VGG16(nn.BatchNorm2d(512)))


def _ssd300(spec: ModelSpec, backbone: VGG16) -> SSD:
    extras = [
        _vgg_extra(1024, 256, 512, 3, 2, 1),
        _vgg_extra(512, 128, 256, 3, 2, 1),
        _vgg_extra(256, 128, 256, 3, 1, 0),
        _vgg_extra(256, 128, 256, 3, 1, 0),
    ]
    return _vgg_ssd(spec, backbone, extras, (512, 1024, 512, 256, 256, 256))


def ssd512_vgg16(spec: ModelSpec) -> SSD:
    """Make SSD512 (arXiv 1512.02325): VGG-16, and extra feature maps of 16, 8, 4, 2 and 1 cells per side."""
    extras = [
        _vgg_extra(1024, 256, 512, 3, 2, 1),
        _vgg_extra(512, 128, 256, 3, 2, 1),
        _vgg_extra(256, 128, 256, 3, 2, 1),
        _vgg_extra(256, 128, 256, 3, 2, 1),
        _vgg_extra(256, 128, 256, 4, 1, 1),
    ]
    return _vgg_ssd(spec, VGG16(), extras, (512, 1024, 512, 256, 256, 256, 256))


def _vgg_extra(inputs: int, middle: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Module:
    """Make an extra feature layer of the original SSD: 1×1 squeeze, then a larger convolution."""
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, outputs, kernel, stride, padding),
        nn.ReLU(inplace=True),
    )


def _vgg_ssd(spec: ModelSpec, backbone: VGG16, extras: Sequence[nn.Module], channels: Sequence[int]) -> SSD:
    boxes = [len(level.sizes) for level in spec.levels]
    loc = [nn.Conv2d(c, 4 * n, 3, padding=1) for c, n in zip(channels, boxes, strict=True)]
    classes = [nn.Conv2d(c, spec.num_classes * n, 3, padding=1) for c, n in zip(channels, boxes, strict=True)]
    for module in (*extras, *loc, *classes):
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return SSD(spec, backbone, extras, loc, classes)


def ssdlite_mobilenet_v2(spec: ModelSpec) -> SSD:
    """Make SSDLite on MobileNetV2 (arXiv 1801.04381)."""
    return _ssdlite(spec, MobileNetV2())


def ssdlite_mobilenet_v3_large(spec: ModelSpec) -> SSD:
    """Make SSDLite on MobileNetV3-Large (arXiv 1905.02244)."""
    return _ssdlite(spec, MobileNetV3Large())


def ssdlite_mobilenet_v2_tensorflow(spec: ModelSpec) -> SSD:
    """Make SSDLite on MobileNetV2 as TensorFlow's Object Detection API does: "SAME" padding, and an eps of its own."""
    return _ssdlite(spec, MobileNetV2(TENSORFLOW), TENSORFLOW)


def ssdlite_mobilenet_v3_torchvision(spec: ModelSpec) -> SSD:
    """Make torchvision's ``ssdlite320_mobilenet_v3_large``, as it is with a backbone from ImageNet."""
    return _ssdlite(spec, MobileNetV3Large(style=TORCHVISION_SSDLITE), TORCHVISION_SSDLITE)


def ssdlite_mobilenet_v3_reduced(spec: ModelSpec) -> SSD:
    """Make torchvision's ``ssdlite320_mobilenet_v3_large`` with the reduced tail of its COCO weights."""
    return _ssdlite(spec, MobileNetV3Large(80, TORCHVISION_SSDLITE), TORCHVISION_SSDLITE)


def _ssdlite(spec: ModelSpec, backbone: MobileNetV2 | MobileNetV3Large, style: Style = PYTORCH) -> SSD:
    channels = [*backbone.channels, 512, 256, 256, 128]
    extras = [separable_extra(a, b, style) for a, b in pairwise(channels[1:])]
    boxes = [len(level.sizes) for level in spec.levels]
    loc = [separable_head(c, 4 * n, style) for c, n in zip(channels, boxes, strict=True)]
    classes = [separable_head(c, spec.num_classes * n, style) for c, n in zip(channels, boxes, strict=True)]
    for module in (*extras, *loc, *classes):
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.03)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return SSD(spec, backbone, extras, loc, classes)


def parameters(network: nn.Module) -> int:
    """Count the trainable values of a network."""
    return sum(p.numel() for p in network.parameters())


def load_backbone(network: SSD, state: dict[str, torch.Tensor]) -> None:
    """Load a backbone's weights from a torchvision classification state_dict.

    Raises:
        ModelError: the weights belong to another architecture.
    """
    try:
        network.backbone.load(state)  # type: ignore[operator]
    except (RuntimeError, KeyError) as error:
        first = str(error).splitlines()[-1].strip()
        raise ModelError(f"these weights do not fit the backbone of {network.spec.architecture}: {first}") from None
