"""What every entry of ``show.py`` returns, and where the real data lies."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssd_edge.evaluation import Evaluation

LABELS = tuple(f"class {k}" for k in range(1, 21))
"""As many classes as Pascal VOC has."""

SHARED = Path(__file__).resolve().parents[2] / "shared"


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: of the entry.
        value: measured in this run; None where it could not be.
        unit: of the value, in words.
        goal: what was aimed at, in words.
        met: whether the value, and all that the goal says beside it, is reached.
        detail: the numbers behind it.
        beside: those of them that belong beside it in a table, in words.
    """

    name: str
    value: float | None
    unit: str
    goal: str
    met: bool
    detail: dict[str, Any] = field(default_factory=dict)
    beside: str = ""


def real_data(path: str) -> Path:
    """A file or folder of the real data.

    Raises:
        FileNotFoundError: it is not there.
    """
    found = SHARED / path
    if not found.exists():
        raise FileNotFoundError(f"the real data is absent: {found}")
    return found


def exact_ap(onnx: Path, data: Path, split: str = "") -> Evaluation:
    """AP of heads computed exactly, which is the same on every processor."""
    from ssd_edge.engines.opening import open_model
    from ssd_edge.evaluation.model import evaluate_model

    engine = open_model(onnx)
    result, _ = evaluate_model(engine, data, split)
    engine.close()
    return result
