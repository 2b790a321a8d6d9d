"""UltraFace RFB-320 of github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, a descendant of pytorch-ssd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ssd_edge.models.registry import make_spec
from ssd_edge.spec import ModelSpec
from ssd_edge.starts.layout import Layout, Source
from ssd_edge.starts.qfgaohao import HEADS
from ssd_edge.starts.state_files import read_state

# Layers of each branch of the receptive field block, and its two single layers, by our names and theirs.
_BRANCHES = {f"branch{k}.{layer}.": f"branch{k}.{layer}." for k in range(3) for layer in range(3 + (k == 2))}
_SINGLE = {"join.": "ConvLinear.", "shortcut.": "shortcut."}

_NAMES = {
    **HEADS,
    "backbone.features.": "base_net.",
    **{
        f"backbone.features.7.{ours}{k}.": f"base_net.7.{theirs}{part}."
        for ours, theirs in {**_BRANCHES, **_SINGLE}.items()
        for k, part in enumerate(("conv", "bn"))
    },
    "extras.": "extras.",
}


def _spec(labels: Sequence[str]) -> ModelSpec:
    return replace(
        make_spec("ultraface_rfb320", labels),
        mean=(127.0, 127.0, 127.0),
        std=(128.0, 128.0, 128.0),
        top_k=200,
    )


ULTRAFACE = Source(
    "UltraFace RFB-320", read_state, (Layout("classification_headers.0.2.bias", _NAMES, _spec),), {1: ("face",)}
)
