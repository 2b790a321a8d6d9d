"""FP32 heads, ready to be observed and quantised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ssd_edge.calibration.network.placement import Placement, place
from ssd_edge.calibration.network.policy import DEFAULT_POLICY, Policy, choose
from ssd_edge.graph.fp32 import read_heads

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Network:
    """FP32 heads and the places of their Q/DQ pairs.

    Attributes:
        path: the file that they come from.
        model: the graph with BatchNorm folded and constants computed, see ``read_heads``.
        placement: the places of the pairs.
    """

    path: Path
    model: onnx.ModelProto
    placement: Placement


def prepare(heads: Path, policy: Policy = DEFAULT_POLICY) -> Network:
    """Read FP32 heads, choose the convolutions that become INT8, and place pairs for them.

    Raises:
        CalibrationError: the heads or the policy cannot be used.
    """
    model = read_heads(heads)
    return Network(heads, model, place(model, choose(model, policy)))
