"""The policy that decides which convolutions become INT8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import onnx

from ssd_edge.errors import CalibrationError
from ssd_edge.graph.fp32 import Convolution, convolutions, initializers

ENDS: dict[str, tuple[bool, bool]] = {
    "none": (False, False),
    "first": (True, False),
    "last": (False, True),
    "both": (True, True),
}
"""Ends of the network that stay in float: (the first convolutions, the last ones)."""


@dataclass(frozen=True)
class Policy:
    """Rules that decide which convolutions become INT8.

    Attributes:
        skip: names of convolutions to leave in float.
        depthwise: whether depthwise convolutions become INT8 too; they gain little, and make TensorRT-RTX's engines
            larger.
        float_ends: the ends that stay in float, a key of ``ENDS``.
        least_products: convolutions that sum fewer products for each output value stay in float, see
            ``RTX_LEAST_PRODUCTS``.
    """

    skip: Sequence[str] = ()
    depthwise: bool = False
    float_ends: str = "none"
    least_products: int = 0


RTX_LEAST_PRODUCTS = 512
"""The ``least_products`` that suits TensorRT-RTX 1.7.

Its compiler fuses FP16 convolutions with the layers that follow. INT8 ones write float32, and a separate kernel (130 KB
of source in the plan, compiled on the device) quantises that again. So INT8 pays only if much is computed for each
value that is written. A plan of SSDLite with MobileNetV2 takes 11.9 MiB in FP32 and 6.3 in FP16. With all but the
depthwise convolutions in INT8 it takes 12.0 MiB and 69 such kernels; with those of 512 products and more, 7.9 MiB and
24. In SSD300 three of 35 convolutions are below 512. No GPU has shown the effect on speed yet."""

DEFAULT_POLICY = Policy()
"""The default policy: all but the depthwise convolutions become INT8."""


def choose(model: onnx.ModelProto, policy: Policy) -> list[Convolution]:
    """Return the convolutions that become INT8.

    Raises:
        CalibrationError: no convolution has a name in ``skip``, the ends are not one of ``ENDS``, or no convolution is
            left.
    """
    left_out = in_float(model, policy)
    chosen = [convolution for convolution in convolutions(model) if convolution.name not in left_out]
    if not chosen:
        raise CalibrationError(
            "no convolution is left to quantise: leave fewer in float, or include the depthwise ones"
        )
    return chosen


def in_float(model: onnx.ModelProto, policy: Policy) -> dict[str, str]:
    """Return the convolutions that stay in float: by name, the reason in words that follow "in float: ".

    Raises:
        CalibrationError: no convolution has a name in ``skip``, or the ends are not one of ``ENDS``.
    """
    if policy.float_ends not in ENDS:
        raise CalibrationError(f"the ends in float must be one of {', '.join(ENDS)}, but got {policy.float_ends!r}")
    all_convolutions = convolutions(model)
    unknown = sorted(set(policy.skip) - {convolution.name for convolution in all_convolutions})
    if unknown:
        raise CalibrationError(f"no convolution is named {', '.join(map(repr, unknown))}, so it cannot be skipped")
    first, last = ENDS[policy.float_ends]
    firsts = first_convolutions(model) if first else set()
    lasts = last_convolutions(model) if last else set()
    weights = initializers(model)

    def reason(convolution: Convolution) -> str | None:
        name = convolution.name
        products = prod(weights[convolution.weight].dims[1:])
        reasons = {
            "asked for by name": name in policy.skip,
            "the first one": name in firsts,
            "one of the last ones": name in lasts,
            "depthwise": convolution.depthwise and not policy.depthwise,
            f"sums {products} products to a value, below {policy.least_products}": products < policy.least_products,
        }
        return next((words for words, holds in reasons.items() if holds), None)

    return {each.name: why for each in all_convolutions if (why := reason(each)) is not None}


def first_convolutions(model: onnx.ModelProto) -> set[str]:
    """Return the names of the convolutions that the image reaches without passing another convolution."""
    reached = {value.name for value in model.graph.input}
    first = set()
    for node in model.graph.node:
        if not reached.isdisjoint(node.input):
            if node.op_type == "Conv":
                first.add(node.name)
            else:
                reached.update(node.output)
    return first


def last_convolutions(model: onnx.ModelProto) -> set[str]:
    """Return the names of the convolutions that reach a network output without passing another convolution."""
    leading = {value.name for value in model.graph.output}
    last = set()
    for node in reversed(model.graph.node):
        if not leading.isdisjoint(node.output):
            if node.op_type == "Conv":
                last.add(node.name)
            else:
                leading.update(node.input)
    return last
