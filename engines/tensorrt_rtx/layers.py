"""The precision of each convolution as a plan of TensorRT-RTX has it.

A plan is text between its weights: tensors with their types, and operations with their inputs and the ONNX nodes that
went into them. That form is NVIDIA's own and was seen in 1.7.1; where another release writes another, nothing is found,
and nothing is claimed.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_TENSOR = re.compile(rb'tensor=\{[^\n]*?name="([^"\n]+)"[^\n]*? type=(\w+) \}')
_OPERATION = re.compile(rb'\n *\w+=\{ name="[^"\n]*" output=\{[^}\n]*\} input=\{([^}\n]*)\}[^\n]*? layers="([^"\n]*)"')
_LAYER = re.compile(rb"\[ONNX Layer: ([^\]\n]+)\]")
_TYPES = {b"float": "FP32", b"half": "FP16", b"int8": "INT8"}


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
