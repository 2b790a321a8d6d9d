"""The precision of each convolution: as an ONNX file asks for it, and as a plan of TensorRT-RTX has it.

A plan is text between its weights: tensors with their types, and operations with their inputs and the ONNX nodes that
went into them. That form is NVIDIA's own and was seen in 1.7.1; where another release writes another, nothing is found,
and nothing is claimed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from ssd_edge.errors import BackendError

if TYPE_CHECKING:
    import onnx

_TENSOR = re.compile(rb'tensor=\{[^\n]*?name="([^"\n]+)"[^\n]*? type=(\w+) \}')
_OPERATION = re.compile(rb'\n *\w+=\{ name="[^"\n]*" output=\{[^}\n]*\} input=\{([^}\n]*)\}[^\n]*? layers="([^"\n]*)"')
_LAYER = re.compile(rb"\[ONNX Layer: ([^\]\n]+)\]")
_TYPES = {b"float": "FP32", b"half": "FP16", b"int8": "INT8"}
_ELEMENTS = {1: "FP32", 10: "FP16"}  # TensorProto.FLOAT and FLOAT16


def asked_for(model: onnx.ModelProto) -> dict[str, str]:
    """The precision of each Conv by its node's name: INT8 where both inputs are dequantised, else the weight's type.

    Args:
        model: each of its Conv nodes has a name of its own.
    """
    import onnx

    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    types = weights | {value.name: value.type.tensor_type.elem_type for value in inferred}
    dequantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return {
        node.name: "INT8" if dequantised.issuperset(node.input[:2]) else _ELEMENTS.get(types.get(node.input[1], 0), "?")
        for node in model.graph.node
        if node.op_type == "Conv"
    }


def in_plan(plan: bytes, names: Collection[str]) -> dict[str, str]:
    """The precision of convolutions by name; those are left out of which the plan does not clearly tell.

    Args:
        plan: its whole file.
        names: of the ONNX file's Conv nodes.
    """
    types = {match[1]: match[2] for match in _TENSOR.finditer(plan)}
    found: dict[str, str] = {}
    doubtful = set()
    for operation in _OPERATION.finditer(plan):
        inputs = {types.get(name, b"?") for name in re.findall(rb'"([^"]+)"', operation[1])[:2]}
        precision = _TYPES.get(inputs.pop()) if len(inputs) == 1 else None
        for layer in _LAYER.findall(operation[2]):
            name = layer.decode(errors="replace")
            if name in names and (precision is None or found.setdefault(name, precision) != precision):
                doubtful.add(name)
    return {name: precision for name, precision in found.items() if name not in doubtful}


def check(asked: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raise BackendError where a convolution has another precision in the plan than the file asks for."""
    wrong = [name for name, precision in found.items() if precision != asked[name]]
    if wrong:
        raise BackendError(
            f"TensorRT-RTX made convolution {wrong[0]!r} {found[wrong[0]]} where the heads ask for {asked[wrong[0]]}, "
            f"{len(wrong)} of {len(asked)} in all: report it, and build with another --precision"
        )


def counted(precisions: Iterable[str]) -> str:
    """In words: ``55 INT8, 33 FP16``."""
    counts = Counter(precisions)
    return ", ".join(f"{counts[precision]} {precision}" for precision in sorted(counts, key=_width))


def _width(precision: str) -> int:
    return int(re.sub(r"\D", "", precision) or 99)
