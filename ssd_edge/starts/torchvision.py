"""torchvision's SSDs with their geometry and post-processing (torchvision/models/detection, version 0.29.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ssd_edge.boxes import no_larger_than_the_image
from ssd_edge.models.registry import make_spec
from ssd_edge.spec import ModelSpec
from ssd_edge.starts.labels import COCO_91
from ssd_edge.starts.layout import Layout, Source
from ssd_edge.starts.state_files import read_state

_HEADS = {
    "class_heads.": "head.classification_head.module_list.",
    "loc_heads.": "head.regression_head.module_list.",
}

_VGG = {
    **_HEADS,
    "backbone.l2norm.weight": "backbone.scale_weight",
    "backbone.features.": "backbone.features.",
    "backbone.features.24.": "backbone.extra.0.1.",
    "backbone.features.26.": "backbone.extra.0.3.",
    "backbone.features.28.": "backbone.extra.0.5.",
    "backbone.fc6.": "backbone.extra.0.7.1.",
    "backbone.fc7.": "backbone.extra.0.7.3.",
    **{f"extras.{k}.": f"backbone.extra.{k + 1}." for k in range(4)},
}

_MOBILENET = {
    **_HEADS,
    "backbone.features.": "backbone.features.0.",
    "backbone.features.13.block.": "backbone.features.1.0.",
    "backbone.features.13.block.0.": "backbone.features.0.13.",
    **{f"backbone.features.{k}.": f"backbone.features.1.{k - 13}." for k in (14, 15, 16)},
    "extras.": "backbone.extra.",
}


def _ssd300(labels: Sequence[str]) -> ModelSpec:
    spec = make_spec("ssd300_vgg16", labels, "coco")
    return replace(
        spec,
        levels=no_larger_than_the_image(spec.levels),
        mean=(0.48235 * 255, 0.45882 * 255, 0.40784 * 255),
        std=(1.0, 1.0, 1.0),
        clip_boxes="before-nms",
    )


def _ssdlite(architecture: str, labels: Sequence[str]) -> ModelSpec:
    return replace(
        make_spec(architecture, labels),
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        clip_boxes="before-nms",
        score_threshold=0.001,
        top_k=300,
        max_detections=300,
    )


def _ssdlite_layout(architecture: str, last_channels: int) -> Layout:
    return Layout(
        "head.classification_head.module_list.0.1.bias",
        _MOBILENET,
        lambda labels: _ssdlite(architecture, labels),
        {"backbone.features.1.3.0.weight": last_channels},
    )


TORCHVISION = Source(
    "torchvision",
    read_state,
    (
        Layout("head.classification_head.module_list.0.bias", _VGG, _ssd300),
        _ssdlite_layout("ssdlite320_mobilenet_v3_reduced", 480),
        _ssdlite_layout("ssdlite320_mobilenet_v3_torchvision", 960),
    ),
    {len(COCO_91): COCO_91},
)
