"""The request to the compiler's process."""

from __future__ import annotations

from dataclasses import dataclass

from ssd_edge.engines.nvidia.request import PlanRequest


@dataclass(frozen=True)
class Request(PlanRequest):
    """What TensorRT-RTX compiles.

    Attributes:
        compute_capabilities: those of the GPUs to compile for, such as ``8.6``.
        strict: whether a convolution of another precision than asked for is an error.
    """

    compute_capabilities: tuple[str, ...]
    strict: bool = False
