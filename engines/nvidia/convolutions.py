"""Choose a plan's precision, and compare the precision of its convolutions with what the heads ask for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ssd_edge.errors import BackendError
from ssd_edge.spec import ModelSpec

if TYPE_CHECKING:
    import onnx

_ELEMENTS = {1: "FP32", 10: "FP16"}  # TensorProto.FLOAT and FLOAT16


def choose_precision(asked: str | None, of_heads: str, spec: ModelSpec) -> str:
    """Choose the precision to build: the one asked for, if the heads allow it.

    Args:
        asked: ``FP32``, ``FP16``, ``INT8``, or None for the best that the heads allow.
        of_heads: ``INT8`` if the heads hold Q/DQ nodes, else ``FP32``.
        spec: the spec of the heads.

    Raises:
        BackendError: the heads do not allow this precision, or it is not one of the three.
    """
    if asked is None:
        return "INT8" if of_heads == "INT8" else "FP16"
    if asked not in {"FP32", "FP16", "INT8"}:
        raise BackendError(f"the precision must be fp32, fp16 or int8, but got {asked.lower()!r}")
    if asked == "INT8" and of_heads != "INT8":
        raise BackendError("INT8 needs heads with Q/DQ, and these are FP32: convert them with ssd-edge calibrate")
    if asked != "INT8" and of_heads == "INT8":
        parent = spec.provenance.get("parent", "the FP32 heads")
        raise BackendError(
            f"{asked} needs FP32 heads, and these are INT8: build it from {parent}, which they were calibrated from"
        )
    return asked


def asked_for(model: onnx.ModelProto) -> dict[str, str]:
    """Map each Conv node's name to its precision: INT8 if both inputs are dequantised, else the weight's type.

    Args:
        model: the heads; the names of their Conv nodes must be unique.
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


def differences(asked: Mapping[str, str], actual: Mapping[str, str], library: str, strict: bool) -> dict[str, str]:
    """Compare the precisions of a plan's convolutions with those that the heads ask for.

    Args:
        asked: precision by name of the convolution.
        actual: those read from the plan; others are not compared.
        library: the library's name for people.
        strict: whether a difference is an error.

    Returns:
        The fact ``other_precision`` for the manifest, which names them; empty if there is no difference.

    Raises:
        BackendError: ``strict`` is set, and a convolution has another precision.
    """
    wrong = [f"{name} {actual[name]} for {asked[name]}" for name in actual if actual[name] != asked[name]]
    if not wrong:
        return {}
    if strict:
        raise BackendError(
            f"{library} made {len(wrong)} of {len(asked)} convolutions of another precision than asked for: "
            f"{', '.join(wrong[:3])}{', …' if len(wrong) > 3 else ''}: build without --strict to have it all the same, "
            "or with another --precision"
        )
    return {"other_precision": f"{len(wrong)} of {len(asked)}: {', '.join(wrong)}"}


def counted(precisions: Iterable[str]) -> str:
    """Count precisions in words, such as ``55 INT8, 33 FP16``."""
    counts = Counter(precisions)
    return ", ".join(f"{counts[precision]} {precision}" for precision in sorted(counts, key=_width))


def _width(precision: str) -> int:
    return int(re.sub(r"\D", "", precision) or 99)
