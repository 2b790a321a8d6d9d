"""SSDLite on MobileNetV2 of TensorFlow's Object Detection API, from its frozen graph.

It differs from the published model in what this file undoes: convolutions lie in memory as rows, columns, inputs,
outputs; the boxes of a cell are in another order; regression is y, x, height, width; scores are sigmoids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ssd_edge.models.registry import make_spec
from ssd_edge.spec import ModelSpec
from ssd_edge.starts.frozen_graph import float_constants
from ssd_edge.starts.labels import COCO_91
from ssd_edge.starts.layout import Layout, Source, State

_NORM = {
    "weight": "BatchNorm/gamma",
    "bias": "BatchNorm/beta",
    "running_mean": "BatchNorm/moving_mean",
    "running_var": "BatchNorm/moving_variance",
}
_DEPTHWISE, _FULL, _BIAS = "depthwise_weights", "weights", "biases"
_BACKBONE = "FeatureExtractor/MobilenetV2/"
_BOXES, _CLASSES = "BoxEncodingPredictor", "ClassPredictor"
ORDER = (0, 5, 1, 2, 3, 4)
"""Place of each of our six boxes among theirs: ratios 1, 2, 1/2, 3, 1/3 and the extra square."""


def _layer(ours: tuple[str, str], theirs: str, weights: str = _FULL) -> dict[str, str]:
    """Name a convolution and its BatchNorm; ``ours`` are the beginnings of their names."""
    convolution, norm = ours
    return {f"{convolution}weight": f"{theirs}{weights}", **{f"{norm}{k}": f"{theirs}{v}" for k, v in _NORM.items()}}


def _pair(start: str) -> tuple[str, str]:
    return f"{start}0.", f"{start}1."


def _block(k: int) -> dict[str, str]:
    """Name the layers of MobileNetV2's block k = 1 … 17; the first has no expansion."""
    ours, theirs = f"backbone.features.{k}.conv.", f"{_BACKBONE}expanded_conv{f'_{k - 1}' if k > 1 else ''}/"
    expand = _layer(_pair(f"{ours}0."), f"{theirs}expand/") if k > 1 else {}
    place = 1 if k > 1 else 0
    project = (f"{ours}{place + 1}.", f"{ours}{place + 2}.")
    depthwise = _layer(_pair(f"{ours}{place}."), f"{theirs}depthwise/", _DEPTHWISE)
    return {**expand, **depthwise, **_layer(project, f"{theirs}project/")}


def _extra(k: int, channels: int) -> dict[str, str]:
    """Name the layers of extra layer k = 0 … 3."""
    squeeze = f"{_BACKBONE}layer_19_1_Conv2d_{k + 2}_1x1_{channels // 2}/"
    expand = f"{_BACKBONE}layer_19_2_Conv2d_{k + 2}_3x3_s2_{channels}"
    return {
        **_layer(_pair(f"extras.{k}.0."), squeeze),
        **_layer(_pair(f"extras.{k}.1."), f"{expand}_depthwise/", _DEPTHWISE),
        **_layer(_pair(f"extras.{k}.2."), f"{expand}/"),
    }


def _head(ours: str, theirs: str, k: int) -> dict[str, str]:
    start = f"BoxPredictor_{k}/{theirs}"
    return {
        **_layer(_pair(f"{ours}.{k}.0."), f"{start}_depthwise/", _DEPTHWISE),
        f"{ours}.{k}.1.weight": f"{start}/{_FULL}",
        f"{ours}.{k}.1.bias": f"{start}/{_BIAS}",
    }


_NAMES = {
    **_layer(_pair("backbone.features.0."), f"{_BACKBONE}Conv/"),
    **_layer(_pair("backbone.features.18."), f"{_BACKBONE}Conv_1/"),
    **{ours: theirs for k in range(1, 18) for ours, theirs in _block(k).items()},
    **{ours: theirs for k, channels in enumerate((512, 256, 256, 128)) for ours, theirs in _extra(k, channels).items()},
    **{ours: theirs for k in range(6) for ours, theirs in _head("loc_heads", _BOXES, k).items()},
    **{ours: theirs for k in range(6) for ours, theirs in _head("class_heads", _CLASSES, k).items()},
}


def _spec(labels: Sequence[str]) -> ModelSpec:
    return replace(
        make_spec("ssdlite300_mobilenet_v2_tensorflow", labels),
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        score_function="softmax" if len(labels) == 1 else "sigmoid",
        top_k=100,
        max_detections=100,
    )


def read_graph(path: Path) -> State:
    """Read the weights of a frozen graph, with convolutions, boxes and coordinates in PyTorch's and our order.

    With one class, σ(x) is the softmax of 0 and x: the background's logits become 0, and scores stay what they were.

    Raises:
        ModelError: the file is missing, or not a frozen graph.
    """
    kinds = (_FULL, _DEPTHWISE, _BIAS, *_NORM.values())
    parts = ("FeatureExtractor/", "BoxPredictor_")
    state = {
        name: _in_pytorchs_order(name, torch.tensor(array))
        for name, array in float_constants(path).items()
        if name.startswith(parts) and name.endswith(tuple(f"/{kind}" for kind in kinds))
    }
    for name in [name for name in state if f"/{_BOXES}/" in name]:
        boxes = state[name].shape[0] // 4
        counterpart = name.replace(_BOXES, _CLASSES)
        state[name] = _boxes_in_order(state[name], boxes)[:, [1, 0, 3, 2]].flatten(0, 1)
        if counterpart in state:
            classes = _boxes_in_order(state[counterpart], boxes)
            if classes.shape[1] == 2:
                classes[:, 0] = 0
            state[counterpart] = classes.flatten(0, 1)
    return state


def _in_pytorchs_order(name: str, tensor: Tensor) -> Tensor:
    """Turn (rows, columns, inputs, outputs) into (outputs, inputs, rows, columns); depthwise has inputs outputs."""
    if tensor.ndim != 4:
        return tensor
    return tensor.permute(2, 3, 0, 1) if name.endswith(_DEPTHWISE) else tensor.permute(3, 2, 0, 1)


def _boxes_in_order(tensor: Tensor, boxes: int) -> Tensor:
    """Turn (boxes·values, …) into (boxes, values, …), and theirs of six boxes into our order; a copy."""
    values = tensor.reshape(boxes, -1, *tensor.shape[1:])
    return values[list(ORDER)] if boxes == len(ORDER) else values.clone()


TF_GRAPH = Source(
    "TensorFlow's Object Detection API (SSDLite with MobileNetV2)",
    read_graph,
    (Layout(f"BoxPredictor_0/{_CLASSES}/{_BIAS}", _NAMES, _spec),),
    {len(COCO_91): COCO_91},
)
