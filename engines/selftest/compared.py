"""Comparison of detections of the same frames, and of which engines run without CUDA graphs, for the sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssd_edge.boxes import iou
from ssd_edge.detections import Detections
from ssd_edge.detector import Engine
from ssd_edge.engines.selftest.sections import FailedError, NotRunError

SURE = 0.3
"""Detections of at least this score are compared."""

LEAST = {"FP32": 0.99, "FP16": 0.97, "INT8": 0.95}
"""Share of detections that the other engine must find too: same class, IoU of at least 0.5, score within 0.1."""


def graph_of(engine: Engine) -> dict[str, str]:
    """Whether an engine's work is launched as CUDA graphs, for the details; empty without a GPU."""
    return {} if engine.graph is None else {"CUDA graph": engine.graph}


def without_graph(details: Mapping[str, Mapping[str, Any]]) -> str:
    """Part of a section's sentence that lists engines whose work is no CUDA graph; the reasons are in its details."""
    names = [name for name, one in details.items() if one.get("CUDA graph", "yes") != "yes"]
    return f"; no CUDA graph: {', '.join(names)}" if names else ""


def agreement(wanted: Sequence[Detections], actual: Sequence[Detections]) -> dict[str, float]:
    """Share of two engines' detections that the other finds too, in both directions; see ``LEAST``."""
    pairs = zip(wanted, actual, strict=True)
    shares = [_matched(one, other) for pair in pairs for one, other in (pair, pair[::-1])]
    total = sum(number for number, _ in shares)
    again = sum(number for _, number in shares)
    return {"compared": total, "alike": again / total if total else 1.0}


def _matched(one: Detections, other: Detections) -> tuple[int, int]:
    sure = one.above(SURE)
    if not len(sure) or not len(other):
        return len(sure), 0
    close = (iou(sure.boxes[:, None], other.boxes[None]) >= 0.5) & (sure.labels[:, None] == other.labels[None])
    close &= np.abs(sure.scores[:, None] - other.scores[None]) <= 0.1
    return len(sure), int(close.any(axis=1).sum())


def require(agreed: Mapping[str, float], least: float, who: str) -> None:
    """Check that two engines agree.

    Args:
        agreed: the result of ``agreement``.
        least: share of detections that must be alike.
        who: what was compared, at the start of a sentence.

    Raises:
        NotRunError: there was no detection to compare.
        FailedError: too few are alike.
    """
    if agreed["compared"] == 0:
        raise NotRunError(f"{who}: the model finds nothing in these frames: give --images that show its classes")
    if agreed["alike"] < least:
        raise FailedError(f"{who} agrees on {100 * agreed['alike']:.1f} % of detections, below {100 * least:.0f} %")
