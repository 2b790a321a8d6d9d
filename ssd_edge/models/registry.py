"""The published models; each makes a spec, which needs no PyTorch, and a network for a spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, cast

from ssd_edge.boxes import (
    SSD300_COCO_SIZES,
    SSD300_VOC_SIZES,
    SSD512_COCO_SIZES,
    SSD512_VOC_SIZES,
    cell_sizes,
    levels_at,
    linear_scales,
    published_levels,
)
from ssd_edge.errors import ModelError
from ssd_edge.models.catalogue import FIT, IMPORTED, MODELS
from ssd_edge.parsing import as_text
from ssd_edge.spec import MAX_SIDE, DefaultBoxLevel, ModelSpec

if TYPE_CHECKING:
    from ssd_edge.models.ssd import SSD

INPUT_STEP = 32
"""Sides of other inputs are multiples of this many pixels: the stride of the backbone's last feature map."""


@dataclass(frozen=True)
class Architecture:
    """A published detector.

    Attributes:
        input_size: (height, width) of the published network, in pixels.
        levels: its default boxes by the name of their size table; the first table is the default.
        network: makes the untrained network of a spec.
        strides: pixels between neighbouring cells of each feature map, if the network takes other inputs too: any whose
            sides are multiples of ``INPUT_STEP``; empty if it takes ``input_size`` only.
        nms_iou: IoU from which on a box is a duplicate of a better one of its class, as published.
    """

    input_size: tuple[int, int]
    levels: dict[str, tuple[DefaultBoxLevel, ...]]
    network: Callable[[ModelSpec], SSD]
    strides: tuple[int, ...] = ()
    nms_iou: float = 0.45  # SSD paper, arXiv 1512.02325 v5, section 3.7

    def takes(self, input_size: tuple[int, int]) -> bool:
        """Tell whether the network takes an input of (height, width)."""
        if input_size == self.input_size:
            return True
        return bool(self.strides) and all(
            side % INPUT_STEP == 0 and INPUT_STEP <= side <= MAX_SIDE for side in input_size
        )


def make_spec(
    name: str, labels: Sequence[str], box_sizes: str = "", input_size: tuple[int, int] | None = None
) -> ModelSpec:
    """Make the spec of a published model for a user's classes.

    Args:
        name: a key of ``MODELS``.
        labels: class names without background.
        box_sizes: a key of the model's ``levels``; the first if empty, or ``FIT``, which begins with these.
        input_size: (height, width) in pixels; None for the published one.

    Raises:
        ModelError: there is no such model or size table, or the network does not take the input.
        SpecError: the labels are empty or repeat.
    """
    published = architecture(name)
    table = next(iter(published.levels)) if box_sizes in ("", FIT) else box_sizes
    if table not in published.levels:
        raise ModelError(
            f"{name} has default-box sizes {', '.join(published.levels)}, but not {table!r}: choose one of these, or "
            f"{FIT}"
        )
    levels = published.levels[table]
    spec = ModelSpec(name, published.input_size, tuple(labels), levels, nms_iou=published.nms_iou)
    return with_input(spec, input_size or published.input_size)


def with_input(spec: ModelSpec, input_size: tuple[int, int]) -> ModelSpec:
    """Return a model's spec for another input; default boxes follow, see ``levels_at``.

    Args:
        spec: of a published model.
        input_size: (height, width) in pixels.

    Raises:
        ModelError: the network does not take the input.
    """
    published = architecture(spec.architecture)
    if input_size == spec.input_size:
        return spec
    if not published.takes(input_size):
        raise ModelError(_not_taken(spec.architecture, published, input_size))
    levels = levels_at(spec.levels, spec.input_size, input_size, published.strides)
    return replace(spec, input_size=input_size, levels=levels)


def _not_taken(name: str, model: Architecture, size: tuple[int, int]) -> str:
    """Say that a network does not take an input of (height, width), and the nearest that it takes."""
    usual, got = as_text(model.input_size), as_text(size)
    if model.strides:
        nearest = [{_bounded(side // INPUT_STEP), _bounded(-(-side // INPUT_STEP))} for side in size]
        sizes = sorted(
            ((height, width) for height in nearest[0] for width in nearest[1]),
            key=lambda other: (abs(other[0] - size[0]) + abs(other[1] - size[1]), other),
        )
        are = "are" if len(sizes) > 1 else "is"
        return (
            f"{name} takes an input of {usual}, or one whose width and height are multiples of {INPUT_STEP} up to "
            f"{MAX_SIDE}, but got {got}: the nearest {are} {', '.join(map(as_text, sizes))}"
        )
    others = [other for other in MODELS if architecture(other).takes(size)]
    advice = f", or train {' or '.join(others)}, which take{'s' * (len(others) == 1)} {got}" if others else ""
    return f"{name} takes an input of {usual} only, but got {got}: the nearest is {usual}{advice}"


def _bounded(steps: int) -> int:
    """Return that many steps in pixels, at least one and at most the largest side of a spec."""
    return min(max(steps, 1) * INPUT_STEP, MAX_SIDE)


def make_network(spec: ModelSpec) -> SSD:
    """Make an untrained network whose heads fit the spec.

    Raises:
        ModelError: the spec's architecture is neither in ``MODELS`` nor in ``IMPORTED``.
    """
    return architecture(spec.architecture).network(spec)


def architecture(name: str) -> Architecture:
    """Find a published or imported model.

    Raises:
        ModelError: there is no such model.
    """
    choice = MODELS.get(name) or IMPORTED.get(name)
    if choice is None:
        raise ModelError(f"no model is called {name!r}; there are {', '.join(MODELS)}")
    return cast(Architecture, choice.load())


SSD300_GRIDS = ((38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300))
SSD300_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
SSD512_GRIDS = ((64, 32, 16, 8, 4, 2, 1), (8, 16, 32, 64, 128, 256, 512))
SSD512_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,))
SSDLITE_STRIDES = (16, 32, 64, 128, 256, 512)
TENSORFLOW_NMS_IOU = 0.6
"""TensorFlow's Object Detection API: its frozen SSDLite300-MobileNetV2 holds it."""
TORCHVISION_NMS_IOU = 0.55
"""torchvision's ``ssdlite320_mobilenet_v3_large``."""


def paper_levels(grids: Sequence[int], ratios: Sequence[Sequence[float]]) -> tuple[DefaultBoxLevel, ...]:
    """Make levels by the paper's formula with s_min = 0.2 and s_max = 0.9.

    conv4_3 has half of s_min (section 3.1); steps are 1/grid.
    """
    scales = (0.1, *linear_scales(len(grids) - 1), 1.0)
    return tuple(
        DefaultBoxLevel((g, g), (1 / g, 1 / g), cell_sizes(scales[k], scales[k + 1], ratios[k]))
        for k, g in enumerate(grids)
    )


def ssdlite300_levels() -> tuple[DefaultBoxLevel, ...]:
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


def ssdlite320_levels() -> tuple[DefaultBoxLevel, ...]:
    """Make levels with scales 0.2 … 0.95 and six boxes per cell on every grid, as in torchvision's ssdlite320."""
    grids = (20, 10, 5, 3, 2, 1)
    scales = (*linear_scales(6, 0.2, 0.95), 1.0)
    return tuple(
        DefaultBoxLevel((g, g), (1 / g, 1 / g), cell_sizes(scales[k], scales[k + 1], (2, 3)))
        for k, g in enumerate(grids)
    )


def network(name: str, module: str = "networks") -> Callable[[ModelSpec], SSD]:
    """Refer to a function of a module of this folder by name; it is imported only when called: it needs PyTorch."""
    return lambda spec: cast("SSD", getattr(import_module(f"ssd_edge.models.{module}"), name)(spec))


SSDLITE300_MOBILENET_V2 = Architecture(
    (300, 300),
    {"mobilenet": ssdlite300_levels()},
    network("ssdlite_mobilenet_v2"),
    SSDLITE_STRIDES,
    TENSORFLOW_NMS_IOU,
)
SSDLITE320_MOBILENET_V3_LARGE = Architecture(
    (320, 320),
    {"mobilenet": ssdlite320_levels()},
    network("ssdlite_mobilenet_v3_large"),
    SSDLITE_STRIDES,
    TORCHVISION_NMS_IOU,
)
SSD300_VGG16 = Architecture(
    (300, 300),
    {
        "voc": published_levels(300, *SSD300_GRIDS, SSD300_VOC_SIZES, SSD300_RATIOS),
        "coco": published_levels(300, *SSD300_GRIDS, SSD300_COCO_SIZES, SSD300_RATIOS),
        "paper": paper_levels(SSD300_GRIDS[0], SSD300_RATIOS),
    },
    network("ssd300_vgg16"),
)
SSD512_VGG16 = Architecture(
    (512, 512),
    {
        "voc": published_levels(512, *SSD512_GRIDS, SSD512_VOC_SIZES, SSD512_RATIOS),
        "coco": published_levels(512, *SSD512_GRIDS, SSD512_COCO_SIZES, SSD512_RATIOS),
        "paper": paper_levels(SSD512_GRIDS[0], SSD512_RATIOS),
    },
    network("ssd512_vgg16"),
)
