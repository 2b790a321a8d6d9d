"""The request to a process that compiles a plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class PlanRequest:
    """What each of NVIDIA's compilers is asked for; each adds its own fields.

    Attributes:
        source: FP32 heads; for ``INT8``, heads with Q/DQ.
        plan: the file to write.
        precision: ``FP32``, ``FP16`` or ``INT8``; with INT8, layers without Q/DQ are FP16.
    """

    source: str
    plan: str
    precision: str

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``ask_child``."""
        return asdict(self)
