"""Run ``compile`` as a child process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssd_edge.engines.nvidia.child import ask_child
from ssd_edge.progress import Progress


def compile_in_child(
    source: Path, plan: Path, precision: str, compute_capabilities: Sequence[str], progress: Progress
) -> dict[str, str]:
    """Run ``compile.compile_plan`` in a child process, which may crash; Ctrl-C ends the child too.

    Raises:
        BackendError: the sentence that the child ended with, or how it died.
    """
    request = {
        "source": str(source),
        "plan": str(plan),
        "precision": precision,
        "compute_capabilities": list(compute_capabilities),
    }
    return ask_child("ssd_edge.engines.tensorrt_rtx.compile", "TensorRT-RTX", request, progress)
