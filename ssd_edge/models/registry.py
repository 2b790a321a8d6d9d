"""The published models by name: each entry makes a spec, and a network for a spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from ssd_edge.boxes import (
    SSD300_COCO_SIZES,
    SSD300_VOC_SIZES,
    SSD512_COCO_SIZES,
    SSD512_VOC_SIZES,
    cell_sizes,
    linear_scales,
    published_levels,
)
from ssd_edge.errors import ModelError
from ssd_edge.models.layers import separable_extra, separable_head
from ssd_edge.models.mobilenet_v2 import MobileNetV2
from ssd_edge.models.mobilenet_v3 import MobileNetV3Large
from ssd_edge.models.ssd import SSD
from ssd_edge.models.vgg16 import VGG16
from ssd_edge.spec import DefaultBoxLevel, ModelSpec


@dataclass(frozen=True)
class Architecture:
    """A published detector.

    Attributes:
        input_size: (height, width).
        levels: default boxes by name of the size table; the first is the usual one.
        network: makes the untrained network of a spec.
        about: one line for a person who chooses.
    """

    input_size: tuple[int, int]
    levels: dict[str, tuple[DefaultBoxLevel, ...]]
    network: Callable[[ModelSpec], SSD]
    about: str


def make_spec(name: str, labels: Sequence[str], box_sizes: str = "") -> ModelSpec:
    """The spec of a published model for a user's classes.

    Args:
        name: a key of ``MODELS``.
        labels: class names without background.
        box_sizes: a key of the model's ``levels``; its first where empty.

    Raises:
        ModelError: no such model or size table.
        SpecError: labels that are no labels.
    """
    architecture = _find(name)
    table = box_sizes or next(iter(architecture.levels))
    if table not in architecture.levels:
        raise ModelError(f"{name} has default-box sizes {_listed(architecture.levels)}, but not {table!r}")
    return ModelSpec(name, architecture.input_size, tuple(labels), architecture.levels[table])


def make_network(spec: ModelSpec) -> SSD:
    """An untrained network whose heads fit the spec.

    Raises:
        ModelError: the spec's architecture is none of ``MODELS``.
    """
    return _find(spec.architecture).network(spec)


def _find(name: str) -> Architecture:
    if name not in MODELS:
        raise ModelError(f"no model is called {name!r}; there are {_listed(MODELS)}")
    return MODELS[name]


def _listed(
    names: dict[str, object] | dict[str, Architecture] | dict[str, tuple[DefaultBoxLevel, ...]],
) -> str:
    return ", ".join(names)


def _vgg_extra(inputs: int, middle: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Module:
    """An extra feature layer of the original SSD: 1×1 squeeze, then a larger convolution."""
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, outputs, kernel, stride, padding),
        nn.ReLU(inplace=True),
    )


def _ssd300_vgg16(spec: ModelSpec) -> SSD:
    extras = [
        _vgg_extra(1024, 256, 512, 3, 2, 1),
        _vgg_extra(512, 128, 256, 3, 2, 1),
        _vgg_extra(256, 128, 256, 3, 1, 0),
        _vgg_extra(256, 128, 256, 3, 1, 0),
    ]
    return _vgg_ssd(spec, extras, (512, 1024, 512, 256, 256, 256))


def _ssd512_vgg16(spec: ModelSpec) -> SSD:
    extras = [
        _vgg_extra(1024, 256, 512, 3, 2, 1),
        _vgg_extra(512, 128, 256, 3, 2, 1),
        _vgg_extra(256, 128, 256, 3, 2, 1),
        _vgg_extra(256, 128, 256, 3, 2, 1),
        _vgg_extra(256, 128, 256, 4, 1, 1),
    ]
    return _vgg_ssd(spec, extras, (512, 1024, 512, 256, 256, 256, 256))


def _vgg_ssd(spec: ModelSpec, extras: Sequence[nn.Module], channels: Sequence[int]) -> SSD:
    boxes = [len(level.sizes) for level in spec.levels]
    loc = [nn.Conv2d(c, 4 * n, 3, padding=1) for c, n in zip(channels, boxes, strict=True)]
    classes = [nn.Conv2d(c, spec.num_classes * n, 3, padding=1) for c, n in zip(channels, boxes, strict=True)]
    for module in (*extras, *loc, *classes):
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return SSD(spec, VGG16(), extras, loc, classes)


def _ssdlite(spec: ModelSpec, backbone: MobileNetV2 | MobileNetV3Large) -> SSD:
    channels = [*backbone.channels, 512, 256, 256, 128]
    extras = [separable_extra(a, b) for a, b in pairwise(channels[1:])]
    boxes = [len(level.sizes) for level in spec.levels]
    loc = [separable_head(c, 4 * n) for c, n in zip(channels, boxes, strict=True)]
    classes = [separable_head(c, spec.num_classes * n) for c, n in zip(channels, boxes, strict=True)]
    for module in (*extras, *loc, *classes):
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.03)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
    return SSD(spec, backbone, extras, loc, classes)


_SSD300_GRIDS = ((38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300))
_SSD300_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
_SSD512_GRIDS = ((64, 32, 16, 8, 4, 2, 1), (8, 16, 32, 64, 128, 256, 512))
_SSD512_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,))


def paper_levels(grids: Sequence[int], ratios: Sequence[Sequence[float]]) -> tuple[DefaultBoxLevel, ...]:
    """The paper's own formula: s_min = 0.2, s_max = 0.9, conv4_3 at half of s_min (section 3.1), steps 1/grid."""
    scales = (0.1, *linear_scales(len(grids) - 1), 1.0)
    return tuple(
        DefaultBoxLevel((g, g), (1 / g, 1 / g), cell_sizes(scales[k], scales[k + 1], ratios[k]))
        for k, g in enumerate(grids)
    )


def _ssdlite300_levels() -> tuple[DefaultBoxLevel, ...]:
    """Scales 0.2 … 0.95; the finest grid has three boxes only, the smallest of scale 0.1 (MobileNet-SSD's anchors)."""
    grids = (19, 10, 5, 3, 2, 1)
    scales = (*linear_scales(6, 0.2, 0.95), 1.0)
    half, double = cell_sizes(0.2, 1.0, (2,))[2:]
    first = DefaultBoxLevel((19, 19), (1 / 19, 1 / 19), ((0.1, 0.1), half, double))
    rest = tuple(
        DefaultBoxLevel((g, g), (1 / g, 1 / g), cell_sizes(scales[k], scales[k + 1], (2, 3)))
        for k, g in enumerate(grids)
        if k > 0
    )
    return (first, *rest)


def _ssdlite320_levels() -> tuple[DefaultBoxLevel, ...]:
    """Scales 0.2 … 0.95, six boxes a cell on every grid, as torchvision's ssdlite320 has them."""
    grids = (20, 10, 5, 3, 2, 1)
    scales = (*linear_scales(6, 0.2, 0.95), 1.0)
    return tuple(
        DefaultBoxLevel((g, g), (1 / g, 1 / g), cell_sizes(scales[k], scales[k + 1], (2, 3)))
        for k, g in enumerate(grids)
    )


MODELS: dict[str, Architecture] = {
    "ssdlite300_mobilenet_v2": Architecture(
        (300, 300),
        {"mobilenet": _ssdlite300_levels()},
        lambda spec: _ssdlite(spec, MobileNetV2()),
        "1917 boxes; the smallest and fastest: start here",
    ),
    "ssdlite320_mobilenet_v3_large": Architecture(
        (320, 320),
        {"mobilenet": _ssdlite320_levels()},
        lambda spec: _ssdlite(spec, MobileNetV3Large()),
        "3234 boxes; a newer backbone with more boxes for small objects",
    ),
    "ssd300_vgg16": Architecture(
        (300, 300),
        {
            "voc": published_levels(300, *_SSD300_GRIDS, SSD300_VOC_SIZES, _SSD300_RATIOS),
            "coco": published_levels(300, *_SSD300_GRIDS, SSD300_COCO_SIZES, _SSD300_RATIOS),
            "paper": paper_levels(_SSD300_GRIDS[0], _SSD300_RATIOS),
        },
        _ssd300_vgg16,
        "8732 boxes; the paper's model: small objects, twenty times the work",
    ),
    "ssd512_vgg16": Architecture(
        (512, 512),
        {
            "voc": published_levels(512, *_SSD512_GRIDS, SSD512_VOC_SIZES, _SSD512_RATIOS),
            "coco": published_levels(512, *_SSD512_GRIDS, SSD512_COCO_SIZES, _SSD512_RATIOS),
            "paper": paper_levels(_SSD512_GRIDS[0], _SSD512_RATIOS),
        },
        _ssd512_vgg16,
        "24564 boxes; the most exact, for hardware that can afford it",
    ),
}
"""By name."""


def parameters(network: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in network.parameters())


def load_backbone(network: SSD, state: dict[str, torch.Tensor]) -> None:
    """Take a backbone's weights from a torchvision classification state_dict.

    Raises:
        ModelError: the weights are of another architecture.
    """
    try:
        network.backbone.load(state)  # type: ignore[operator]
    except (RuntimeError, KeyError) as error:
        first = str(error).splitlines()[-1].strip()
        raise ModelError(f"these weights do not fit the backbone of {network.spec.architecture}: {first}") from None
