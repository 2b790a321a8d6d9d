"""SSD300 and SSD512 on VGG-16 of github.com/amdegroot/ssd.pytorch and github.com/lufficc/SSD, which descends from it.

Both keep the network in flat lists: the layers of VGG-16 up to fc7 in one, the extra convolutions in another. Their
default boxes are clipped as centre and size. Where the published geometry differs from theirs, theirs is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ssd_edge.boxes import SSD512_VOC_SIZES, published_levels
from ssd_edge.models.registry import SSD512_GRIDS, SSD512_RATIOS, make_spec
from ssd_edge.spec import DefaultBoxLevel, ModelSpec
from ssd_edge.starts.labels import COCO_80, VOC
from ssd_edge.starts.layout import Layout, Source
from ssd_edge.starts.state_files import read_state

LABELS = {len(VOC): VOC, len(COCO_80): COCO_80}
VOC_ON_RGB = (123.0, 117.0, 104.0)
"""The mean that is subtracted, in RGB; nothing is divided."""


def _names(vgg: str, l2norm: str, extras: str, loc: str, classes: str) -> dict[str, str]:
    """Make the names of a layout from the beginnings of its five lists."""
    return {
        "backbone.features.": f"{vgg}.",
        "backbone.fc6.": f"{vgg}.31.",
        "backbone.fc7.": f"{vgg}.33.",
        "backbone.l2norm.": f"{l2norm}.",
        # theirs applies the ReLUs in forward, so two convolutions of a layer are neighbours
        **{f"extras.{k}.{2 * second}.": f"{extras}.{2 * k + second}." for k in range(5) for second in (0, 1)},
        "loc_heads.": f"{loc}.",
        "class_heads.": f"{classes}.",
    }


def _spec(architecture: str, max_detections: int, labels: Sequence[str]) -> ModelSpec:
    """Make a spec; COCO's default-box sizes for as many classes as COCO has, VOC's for all others."""
    table = "coco" if len(labels) in {len(COCO_80), 200} else "voc"  # ssd.pytorch counts 201 classes for COCO
    spec = make_spec(architecture, labels, table)
    levels = _their_ssd512() if (architecture, table) == ("ssd512_vgg16", "voc") else spec.levels
    return replace(
        spec,
        levels=levels,
        mean=VOC_ON_RGB,
        std=(1.0, 1.0, 1.0),
        clip="cxcywh",
        max_detections=max_detections,
    )


def _their_ssd512() -> tuple[DefaultBoxLevel, ...]:
    """Make levels that end at 537.65 pixels (configs/vgg_ssd512_voc0712.yaml), where the published end at 537.6."""
    return published_levels(512, *SSD512_GRIDS, (*SSD512_VOC_SIZES[:-1], 537.65), SSD512_RATIOS)


def _layouts(names: dict[str, str], max_detections: int) -> tuple[Layout, Layout]:
    """Make the layouts of SSD512, which has a seventh head, and of SSD300."""
    heads = names["class_heads."]
    last = {f"{names['loc_heads.']}6.bias": 4 * 4}
    return (
        Layout(f"{heads}0.bias", names, partial(_spec, "ssd512_vgg16", max_detections), last),
        Layout(f"{heads}0.bias", names, partial(_spec, "ssd300_vgg16", max_detections)),
    )


AMDEGROOT = Source(
    "amdegroot/ssd.pytorch", read_state, _layouts(_names("vgg", "L2Norm", "extras", "loc", "conf"), 200), LABELS
)
LUFFICC = Source(
    "lufficc/SSD",
    read_state,
    _layouts(
        _names(
            "backbone.vgg",
            "backbone.l2_norm",
            "backbone.extras",
            "box_head.predictor.reg_headers",
            "box_head.predictor.cls_headers",
        ),
        100,
    ),
    LABELS,
)
