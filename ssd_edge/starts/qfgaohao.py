"""The networks ``vgg16-ssd`` and ``mb2-ssd-lite`` of github.com/qfgaohao/pytorch-ssd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ssd_edge.models.registry import make_spec
from ssd_edge.spec import ModelSpec
from ssd_edge.starts.labels import VOC
from ssd_edge.starts.layout import Layout, Source
from ssd_edge.starts.state_files import read_state

HEADS = {"class_heads.": "classification_headers.", "loc_heads.": "regression_headers."}

_VGG = {
    **HEADS,
    "backbone.features.": "base_net.",
    "backbone.fc6.": "base_net.31.",
    "backbone.fc7.": "base_net.33.",
    "backbone.l2norm.": "source_layer_add_ons.0.",
    "extras.": "extras.",
}

# Places in their flat block of expand, depthwise and project, and in the first block, which does not expand.
_BLOCK = {"0.0.": "0.", "0.1.": "1.", "1.0.": "3.", "1.1.": "4.", "2.": "6.", "3.": "7."}
_FIRST = {"0.0.": "0.", "0.1.": "1.", "1.": "3.", "2.": "4."}

_MOBILENET = {
    **HEADS,
    "backbone.features.": "base_net.",
    **{f"backbone.features.1.conv.{ours}": f"base_net.1.conv.{theirs}" for ours, theirs in _FIRST.items()},
    **{
        f"backbone.features.{k}.conv.{ours}": f"base_net.{k}.conv.{theirs}"
        for k in range(2, 18)
        for ours, theirs in _BLOCK.items()
    },
    **{f"extras.{k}.{ours}": f"extras.{k}.conv.{theirs}" for k in range(4) for ours, theirs in _BLOCK.items()},
}


def _spec(architecture: str, mean: tuple[float, float, float], std: float, labels: Sequence[str]) -> ModelSpec:
    return replace(make_spec(architecture, labels), mean=mean, std=(std, std, std), clip="cxcywh", top_k=200)


QFGAOHAO = Source(
    "qfgaohao/pytorch-ssd",
    read_state,
    (
        Layout(
            "classification_headers.0.bias", _VGG, partial(_spec, "ssd300_vgg16_batchnorm", (123.0, 117.0, 104.0), 1.0)
        ),
        Layout(
            "classification_headers.0.3.bias", _MOBILENET, partial(_spec, "mb2_ssd_lite", (127.0, 127.0, 127.0), 128.0)
        ),
    ),
    {len(VOC): VOC},
)
