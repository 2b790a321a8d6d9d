"""Read the precision of each convolution from a plan of TensorRT-RTX.

Between its weights a plan is text: tensors with their types, and operations with their inputs and the ONNX nodes that
they contain. This format is NVIDIA's own and was seen in 1.7.1; from a release with another format no precision is
read.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_TENSOR = re.compile(rb'tensor=\{[^\n]*?name="([^"\n]+)"[^\n]*? type=(\w+) \}')
_OPERATION = re.compile(rb'\n *\w+=\{ name="[^"\n]*" output=\{[^}\n]*\} input=\{([^}\n]*)\}[^\n]*? layers="([^"\n]*)"')
_LAYER = re.compile(rb"\[ONNX Layer: ([^\]\n]+)\]")
_TYPES = {b"float": "FP32", b"half": "FP16", b"int8": "INT8"}


def in_plan(plan: bytes, names: Collection[str]) -> dict[str, str]:
    """Map convolutions to their precisions in the plan. Ambiguous ones are omitted.

    Args:
        plan: content of the plan's file.
        names: names of the ONNX file's Conv nodes.
    """
    types = {match[1]: match[2] for match in _TENSOR.finditer(plan)}
    precisions: dict[str, str] = {}
    ambiguous = set()
    for operation in _OPERATION.finditer(plan):
        inputs = {types.get(name, b"?") for name in re.findall(rb'"([^"]+)"', operation[1])[:2]}
        precision = _TYPES.get(inputs.pop()) if len(inputs) == 1 else None
        for layer in _LAYER.findall(operation[2]):
            name = layer.decode(errors="replace")
            if name in names and (precision is None or precisions.setdefault(name, precision) != precision):
                ambiguous.add(name)
    return {name: precision for name, precision in precisions.items() if name not in ambiguous}
