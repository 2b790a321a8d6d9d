"""Which convolutions become INT8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from ssd_edge.calibration.graph import Convolution, convolutions
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
    """

    skip: Sequence[str] = ()
    depthwise: bool = False
    float_ends: str = "none"


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
    chosen = [c for c in found if c.name not in in_float and (policy.depthwise or not c.depthwise)]
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
