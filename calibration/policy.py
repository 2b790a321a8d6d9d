"""Which convolutions become INT8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import onnx

from ssd_edge.calibration.graph import Convolution, convolutions, initializers
from ssd_edge.errors import CalibrationError

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
    if policy.float_ends not in ENDS:
        raise CalibrationError(f"the ends in float must be one of {', '.join(ENDS)}, but got {policy.float_ends!r}")
    found = convolutions(model)
    unknown = sorted(set(policy.skip) - {convolution.name for convolution in found})
    if unknown:
        raise CalibrationError(f"no convolution is named {', '.join(map(repr, unknown))}, so it cannot be skipped")
    first, last = ENDS[policy.float_ends]
    in_float = {*policy.skip}
    in_float |= first_convolutions(model) if first else set()
    in_float |= last_convolutions(model) if last else set()
    weights = initializers(model)
    chosen = [
        c
        for c in found
        if c.name not in in_float
        and (policy.depthwise or not c.depthwise)
        and prod(weights[c.weight].dims[1:]) >= policy.least_products
    ]
    if not chosen:
        raise CalibrationError(
            "no convolution is left to quantise: leave fewer in float, or include the depthwise ones"
        )
    return chosen


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
