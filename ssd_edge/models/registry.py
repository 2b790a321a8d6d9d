"""The published models; each makes a spec, which needs no PyTorch, and a network for a spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

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
from ssd_edge.models.catalogue import MODELS
from ssd_edge.spec import DefaultBoxLevel, ModelSpec

if TYPE_CHECKING:
    from ssd_edge.models.ssd import SSD


@dataclass(frozen=True)
class Architecture:
    """A published detector.

    Attributes:
        input_size: (height, width).
        levels: default boxes by the name of their size table; the first table is the default.
        network: makes the untrained network of a spec.
    """

    input_size: tuple[int, int]
    levels: dict[str, tuple[DefaultBoxLevel, ...]]
    network: Callable[[ModelSpec], SSD]


def make_spec(name: str, labels: Sequence[str], box_sizes: str = "") -> ModelSpec:
    """Make the spec of a published model for a user's classes.

    Args:
        name: a key of ``MODELS``.
        labels: class names without background.
        box_sizes: a key of the model's ``levels``; the first if empty.

    Raises:
        ModelError: there is no such model or size table.
        SpecError: the labels are empty or repeat.
    """
    published = architecture(name)
    table = box_sizes or next(iter(published.levels))
    if table not in published.levels:
        raise ModelError(
            f"{name} has default-box sizes {', '.join(published.levels)}, but not {table!r}: choose one of these"
        )
    return ModelSpec(name, published.input_size, tuple(labels), published.levels[table])


def make_network(spec: ModelSpec) -> SSD:
    """Make an untrained network whose heads fit the spec.

    Raises:
        ModelError: the spec's architecture is not in ``MODELS``.
    """
    return architecture(spec.architecture).network(spec)


def architecture(name: str) -> Architecture:
    """Find a published model.

    Raises:
        ModelError: there is no such model.
    """
    if name not in MODELS:
        raise ModelError(f"no model is called {name!r}; there are {', '.join(MODELS)}")
    return cast(Architecture, MODELS[name].load())


_SSD300_GRIDS = ((38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300))
_SSD300_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
_SSD512_GRIDS = ((64, 32, 16, 8, 4, 2, 1), (8, 16, 32, 64, 128, 256, 512))
_SSD512_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,))


def paper_levels(grids: Sequence[int], ratios: Sequence[Sequence[float]]) -> tuple[DefaultBoxLevel, ...]:
    """Make levels by the paper's formula with s_min = 0.2 and s_max = 0.9.

    conv4_3 has half of s_min (section 3.1); steps are 1/grid.
    """
    scales = (0.1, *linear_scales(len(grids) - 1), 1.0)
    return tuple(
        DefaultBoxLevel((g, g), (1 / g, 1 / g), cell_sizes(scales[k], scales[k + 1], ratios[k]))
        for k, g in enumerate(grids)
    )


def _ssdlite300_levels() -> tuple[DefaultBoxLevel, ...]:
    """Make levels with scales 0.2 … 0.95 (MobileNet-SSD's anchors).

    A cell of the finest grid has only three boxes; the smallest has scale 0.1.
    """
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
    """Make levels with scales 0.2 … 0.95 and six boxes per cell on every grid, as in torchvision's ssdlite320."""
    grids = (20, 10, 5, 3, 2, 1)
    scales = (*linear_scales(6, 0.2, 0.95), 1.0)
    return tuple(
        DefaultBoxLevel((g, g), (1 / g, 1 / g), cell_sizes(scales[k], scales[k + 1], (2, 3)))
        for k, g in enumerate(grids)
    )


def _network(name: str) -> Callable[[ModelSpec], SSD]:
    """Refer to a function of ``networks`` by name; it is imported only when called, since it needs PyTorch."""
    return lambda spec: cast("SSD", getattr(import_module("ssd_edge.models.networks"), name)(spec))


SSDLITE300_MOBILENET_V2 = Architecture(
    (300, 300),
    {"mobilenet": _ssdlite300_levels()},
    _network("ssdlite_mobilenet_v2"),
)
SSDLITE320_MOBILENET_V3_LARGE = Architecture(
    (320, 320),
    {"mobilenet": _ssdlite320_levels()},
    _network("ssdlite_mobilenet_v3_large"),
)
SSD300_VGG16 = Architecture(
    (300, 300),
    {
        "voc": published_levels(300, *_SSD300_GRIDS, SSD300_VOC_SIZES, _SSD300_RATIOS),
        "coco": published_levels(300, *_SSD300_GRIDS, SSD300_COCO_SIZES, _SSD300_RATIOS),
        "paper": paper_levels(_SSD300_GRIDS[0], _SSD300_RATIOS),
    },
    _network("ssd300_vgg16"),
)
SSD512_VGG16 = Architecture(
    (512, 512),
    {
        "voc": published_levels(512, *_SSD512_GRIDS, SSD512_VOC_SIZES, _SSD512_RATIOS),
        "coco": published_levels(512, *_SSD512_GRIDS, SSD512_COCO_SIZES, _SSD512_RATIOS),
        "paper": paper_levels(_SSD512_GRIDS[0], _SSD512_RATIOS),
    },
    _network("ssd512_vgg16"),
)
