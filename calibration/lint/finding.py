"""One finding of the check: its kind, the node at fault, and a sentence with what to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from ssd_edge.graph.view import name_of

KINDS: dict[str, tuple[str, str]] = {
    "refused": ("error", "NVIDIA's parser refuses the file"),
    "no scale": ("error", "a scale that is zero, negative, NaN or infinite"),
    "read otherwise": ("error", "a runtime computes something else than the file says"),
    "blocks fusion": ("warning", "a pair, or the lack of one, keeps the compiler from fusing"),
    "rounds outputs": ("warning", "a pair between the last convolutions and decode"),
    "in float": ("note", "a convolution that does not run in INT8"),
    "coarse": ("note", "a grid coarser than it need be"),
}
"""Kinds of findings: (how grave, what it is)."""


@dataclass(frozen=True)
class Finding:
    """One spot.

    Attributes:
        kind: a key of ``KINDS``.
        node: the name of the node at fault.
        sentence: what is the matter, and what to do.
    """

    kind: str
    node: str
    sentence: str

    @property
    def gravity(self) -> str:
        """``error``, ``warning`` or ``note``."""
        return KINDS[self.kind][0]


def in_float(node: onnx.NodeProto, reason: str) -> Finding:
    """Make the finding of a convolution that stays in float."""
    return Finding("in float", name_of(node), f"{said(node)} stays in float: {reason}")


def said(node: onnx.NodeProto) -> str:
    """Name a node with its kind, as part of a sentence."""
    return f"{node.op_type} {name_of(node)!r}"


def differ(arrays: list[npt.NDArray[np.float64] | None]) -> bool:
    """Whether those that are known are not all one value."""
    known = [array for array in arrays if array is not None]
    return any(not np.array_equal(known[0], array) for array in known[1:])
