"""The published models by name; each entry makes a spec, which needs no PyTorch, and a network for a spec."""

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
        about: one line to help a person choose.
    """

    input_size: tuple[int, int]
    levels: dict[str, tuple[DefaultBoxLevel, ...]]
    network: Callable[[ModelSpec], SSD]
    about: str


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
    architecture = _find(name)
    table = box_sizes or next(iter(architecture.levels))
    if table not in architecture.levels:
        raise ModelError(
            f"{name} has default-box sizes {_listed(architecture.levels)}, but not {table!r}: choose one of these"
        )
    return ModelSpec(name, architecture.input_size, tuple(labels), architecture.levels[table])


def make_network(spec: ModelSpec) -> SSD:
    """Make an untrained network whose heads fit the spec.

    Raises:
        ModelError: the spec's architecture is not in ``MODELS``.
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


MODELS: dict[str, Architecture] = {
    "ssdlite300_mobilenet_v2": Architecture(
        (300, 300),
        {"mobilenet": _ssdlite300_levels()},
        _network("ssdlite_mobilenet_v2"),
        "1917 boxes; the smallest and fastest: start here",
    ),
    "ssdlite320_mobilenet_v3_large": Architecture(
        (320, 320),
        {"mobilenet": _ssdlite320_levels()},
        _network("ssdlite_mobilenet_v3_large"),
        "3234 boxes; a newer backbone with more boxes for small objects",
    ),
    "ssd300_vgg16": Architecture(
        (300, 300),
        {
            "voc": published_levels(300, *_SSD300_GRIDS, SSD300_VOC_SIZES, _SSD300_RATIOS),
            "coco": published_levels(300, *_SSD300_GRIDS, SSD300_COCO_SIZES, _SSD300_RATIOS),
            "paper": paper_levels(_SSD300_GRIDS[0], _SSD300_RATIOS),
        },
        _network("ssd300_vgg16"),
        "8732 boxes; the paper's model: small objects, twenty times the work",
    ),
    "ssd512_vgg16": Architecture(
        (512, 512),
        {
            "voc": published_levels(512, *_SSD512_GRIDS, SSD512_VOC_SIZES, _SSD512_RATIOS),
            "coco": published_levels(512, *_SSD512_GRIDS, SSD512_COCO_SIZES, _SSD512_RATIOS),
            "paper": paper_levels(_SSD512_GRIDS[0], _SSD512_RATIOS),
        },
        _network("ssd512_vgg16"),
        "24564 boxes; the most exact, for hardware that can afford it",
    ),
}
"""The published models by name."""
