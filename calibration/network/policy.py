"""Which convolutions become INT8."""

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
"""Which ends of the network stay in float: (the first convolutions, the last ones)."""


@dataclass(frozen=True)
class Policy:
    """Which convolutions become INT8.

    Attributes:
        skip: names of convolutions to leave in float.
        depthwise: whether depthwise ones become INT8 too: they gain little, and make TensorRT-RTX's engines larger.
        float_ends: a key of ``ENDS``.
        least_products: convolutions stay in float that sum fewer products to one value. See ``RTX_LEAST_PRODUCTS``.
    """

    skip: Sequence[str] = ()
    depthwise: bool = False
    float_ends: str = "none"
    least_products: int = 0


RTX_LEAST_PRODUCTS = 512
"""What suits TensorRT-RTX 1.7. Its compiler fuses FP16 convolutions with what follows; INT8 ones write float32, and a
kernel of its own (130 KB of source in the plan, compiled on the device) makes INT8 of that again. So INT8 pays only
where much is computed for each value that is written. Seen in plans of SSDLite with MobileNetV2, of which FP32 takes
11.9 MiB and FP16 6.3: all but the depthwise convolutions in INT8 make 12.0 MiB and 69 such kernels, those of 512
products and more 7.9 MiB and 24. In SSD300 three of 35 are below. What either does for speed, no GPU has shown yet."""

DEFAULT_POLICY = Policy()
"""All but the depthwise ones."""


def choose(model: onnx.ModelProto, policy: Policy) -> list[Convolution]:
    """The convolutions that become INT8.

    Raises:
        CalibrationError: a name to skip is no convolution's, the ends are not one of ``ENDS``, or none is left.
    """
    left_out = in_float(model, policy)
    chosen = [convolution for convolution in convolutions(model) if convolution.name not in left_out]
    if not chosen:
        raise CalibrationError(
            "no convolution is left to quantise: leave fewer in float, or include the depthwise ones"
        )
    return chosen


def in_float(model: onnx.ModelProto, policy: Policy) -> dict[str, str]:
    """The convolutions that stay in float, by name, and why, in words that follow "in float: ".

    Raises:
        CalibrationError: a name to skip is no convolution's, or the ends are not one of ``ENDS``.
    """
    if policy.float_ends not in ENDS:
        raise CalibrationError(f"the ends in float must be one of {', '.join(ENDS)}, but got {policy.float_ends!r}")
    found = convolutions(model)
    unknown = sorted(set(policy.skip) - {convolution.name for convolution in found})
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

    return {one.name: why for one in found if (why := reason(one)) is not None}


def first_convolutions(model: onnx.ModelProto) -> set[str]:
    """Names of the convolutions that the image reaches through no other."""
    reached = {value.name for value in model.graph.input}
    found = set()
    for node in model.graph.node:
        if not reached.isdisjoint(node.input):
            if node.op_type == "Conv":
                found.add(node.name)
            else:
                reached.update(node.output)
    return found


def last_convolutions(model: onnx.ModelProto) -> set[str]:
    """Names of the convolutions of which something reaches the network's outputs through no other."""
    leading = {value.name for value in model.graph.output}
    found = set()
    for node in reversed(model.graph.node):
        if not leading.isdisjoint(node.output):
            if node.op_type == "Conv":
                found.add(node.name)
            else:
                leading.update(node.input)
    return found
