"""Read the layers of a TensorRT engine and their precisions from its inspector's report.

The inspector's JSON is NVIDIA's own format and differs a little between releases: a type is written ``Int8``, ``Half``
or ``Row major linear FP16 format``, and the ONNX nodes of a layer are in its metadata or make up its name. Where
neither is present, no precision is reported.
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
        name: TensorRT's name for it.
        kind: TensorRT's type of layer, such as ``CaskConvolution``.
        precision: precision of its first input: ``FP32``, ``FP16``, ``INT8``, or ``?`` if unknown.
        nodes: names of the ONNX nodes that it contains.
        on_dla: whether the DLA runs it.
    """

    name: str
    kind: str
    precision: str
    nodes: tuple[str, ...]
    on_dla: bool


def layers_of(information: str) -> list[Layer]:
    """Read the layers from the inspector's JSON; none if it has another form."""
    try:
        layers = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError):
        return []
    return [_layer(layer) for layer in layers if isinstance(layer, dict)]


def of_convolutions(layers: Iterable[Layer], names: Collection[str]) -> dict[str, str]:
    """Map convolutions to their precisions, or to ``DLA`` if a DLA runs them. Ambiguous ones are omitted.

    Args:
        layers: the engine's layers.
        names: names of the ONNX file's Conv nodes.
    """
    precisions: dict[str, str] = {}
    ambiguous = set()
    for layer in layers:
        precision = "DLA" if layer.on_dla else layer.precision
        # A node may be part of several layers, such as a reformat and the convolution: only layers that compute count.
        if not layer.on_dla and re.search("reformat|shuffle|constant|noop|scale|pointwise", layer.kind, re.IGNORECASE):
            continue
        for name in layer.nodes:
            if name in names and (precision == "?" or precisions.setdefault(name, precision) != precision):
                ambiguous.add(name)
    return {name: precision for name, precision in precisions.items() if name not in ambiguous}


def _layer(content: dict[str, Any]) -> Layer:
    name, kind = str(content.get("Name", "")), str(content.get("LayerType", ""))
    inputs = content.get("Inputs") or [{}]
    form = " ".join(str(inputs[0].get(key, "")) for key in ("Format/Datatype", "Datatype", "Format"))
    nodes = _NODE.findall(str(content.get("Metadata", "")))
    return Layer(
        name,
        kind,
        # A region compiled as one may have nodes of several precisions, whatever its first input is.
        "?" if "ForeignNode" in name else next((one for one, words in _TYPES.items() if words.search(form)), "?"),
        # Without metadata, a fused layer's name is the names of its nodes joined by " + ".
        tuple(dict.fromkeys(nodes or [part.strip() for part in re.split(r"\s\+\s", name)])),
        "DLA" in kind,  # the name does not tell: ForeignNodes exist on the GPU too
    )
