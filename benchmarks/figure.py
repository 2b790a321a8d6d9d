"""The result of every entry of ``show.py``, and the path of the real data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssd_edge.evaluation import Evaluation

LABELS = tuple(f"class {k}" for k in range(1, 21))
"""20 labels, as many as Pascal VOC has."""

SHARED = Path(__file__).resolve().parents[2] / "shared"


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: name of the entry.
        value: the number measured in this run; None if it could not be measured.
        unit: unit of the value, in words.
        goal: the goal, in words.
        met: whether the value, and everything else in the goal, is reached.
        detail: the numbers behind the value.
        beside: the most important of these numbers, in words, for a column of the table.
    """

    name: str
    value: float | None
    unit: str
    goal: str
    met: bool
    detail: dict[str, Any] = field(default_factory=dict)
    beside: str = ""


def real_data(path: str) -> Path:
    """Return a file or folder of the real data.

    Raises:
        FileNotFoundError: it does not exist.
    """
    full_path = SHARED / path
    if not full_path.exists():
        raise FileNotFoundError(f"the real data is absent: {full_path}")
    return full_path


def in_a_process(script: str) -> Any:
    """Run an entry's script in a process of its own, which finds the tests' emulations, and return the JSON it prints.

    Raises:
        FileNotFoundError: it failed.
    """
    child = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if child.returncode:
        raise FileNotFoundError(f"{Path(script).name} ended with exit code {child.returncode}")
    return json.loads(child.stdout)


def exact_ap(onnx: Path, data: Path, split: str = "") -> Evaluation:
    """Measure AP of heads computed exactly, which is the same on every processor."""
    from ssd_edge.engines.opening import open_model
    from ssd_edge.evaluation.model import evaluate_model

    engine = open_model(onnx)
    result, _ = evaluate_model(engine, data, split)
    engine.close()
    return result


def peak_memory(process: int | str = "self") -> int:
    """Return the bytes of memory that a process, by its number, held at most: Linux's VmHWM."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])
