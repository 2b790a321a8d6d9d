"""What a TensorRT engine became, layer by layer, as its inspector tells.

The inspector's JSON is NVIDIA's own form, and differs a little between releases: a type is written ``Int8``, ``Half``
or ``Row major linear FP16 format``, and the ONNX nodes of a layer stand in its metadata or make up its name. Where
neither is found, nothing is claimed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

_TYPES = {
    "INT8": re.compile(r"\bint8\b", re.IGNORECASE),
    "FP16": re.compile(r"\b(fp16|half)\b", re.IGNORECASE),
    "FP32": re.compile(r"\b(fp32|float)\b", re.IGNORECASE),
}
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


@dataclass(frozen=True)
class Layer:
    """One layer of an engine.

    Attributes:
        name: TensorRT's.
        kind: such as ``CaskConvolution``.
        precision: of its first input: ``FP32``, ``FP16``, ``INT8``, or ``?`` where that is not said.
        nodes: of the ONNX file that went into it.
        on_dla: whether the DLA runs it.
    """

    name: str
    kind: str
    precision: str
    nodes: tuple[str, ...]
    on_dla: bool


def layers_of(information: str) -> list[Layer]:
    """The layers in the inspector's JSON; none where it is in another form."""
    try:
        found = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError):
        return []
    return [_layer(one) for one in found if isinstance(one, dict)]


def of_convolutions(layers: Iterable[Layer], names: Collection[str]) -> dict[str, str]:
    """The precision of convolutions by name, ``DLA`` for those on it, but for those of which nothing clear is said.

    Args:
        layers: of the engine.
        names: of the ONNX file's Conv nodes.
    """
    found: dict[str, str] = {}
    doubtful = set()
    for layer in layers:
        precision = "DLA" if layer.on_dla else layer.precision
        # A node of many layers (a reformat beside the convolution itself) is told by those that compute.
        if not layer.on_dla and re.search("reformat|shuffle|constant|noop|scale|pointwise", layer.kind, re.IGNORECASE):
            continue
        for name in layer.nodes:
            if name in names and (precision == "?" or found.setdefault(name, precision) != precision):
                doubtful.add(name)
    return {name: precision for name, precision in found.items() if name not in doubtful}


def _layer(content: dict[str, Any]) -> Layer:
    name, kind = str(content.get("Name", "")), str(content.get("LayerType", ""))
    inputs = content.get("Inputs") or [{}]
    form = " ".join(str(inputs[0].get(key, "")) for key in ("Format/Datatype", "Datatype", "Format"))
    nodes = _NODE.findall(str(content.get("Metadata", "")))
    return Layer(
        name,
        kind,
        # A region compiled as one has nodes of several precisions, and its first input does not tell of them.
        "?" if "ForeignNode" in name else next((one for one, words in _TYPES.items() if words.search(form)), "?"),
        # Without metadata a fused layer's name joins those of its nodes.
        tuple(dict.fromkeys(nodes or [part.strip() for part in re.split(r"\s\+\s", name)])),
        "DLA" in kind,  # on the GPU there are ForeignNodes too
    )
