"""A run's folder as a value: its recipe, its facts and its curves, written whole and read back; needs no PyTorch."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ssd_edge.errors import ModelError
from ssd_edge.files import written_whole
from ssd_edge.parsing import parse_json
from ssd_edge.training.plot import Line, Panel, draw

RECIPE, FACTS, CURVES, PICTURE = "recipe.yaml", "run.json", "curves.csv", "curves.png"
"""Names of the files of a run's folder, beside the checkpoints ``model.pt`` and ``last.ckpt``."""


@dataclass(frozen=True)
class Row:
    """One epoch of a training.

    Attributes:
        epoch: the epoch, counted from 1; 0 is before the first step.
        step: training steps done.
        seconds: time of training so far, over all sessions of a training that was resumed.
        lr: learning rate of the weights at the end of the epoch.
        loss, loss_loc, loss_conf: mean over the epoch's steps of the MultiBox loss and its parts.
        ap, ap50: AP on the validation images; None where there was no validation, or AP is undefined.
    """

    epoch: int
    step: int
    seconds: float
    lr: float | None = None
    loss: float | None = None
    loss_loc: float | None = None
    loss_conf: float | None = None
    ap: float | None = None
    ap50: float | None = None


_COLUMNS = [column.name for column in fields(Row)]


@dataclass(frozen=True)
class Experiment:
    """A run as its folder tells it.

    Attributes:
        folder: the folder.
        recipe: all settings, by name; those of a group are named GROUP.NAME.
        facts: what ``run.json`` holds: data, versions, seed, result.
        rows: its epochs.
    """

    folder: Path
    recipe: Mapping[str, Any]
    facts: Mapping[str, Any]
    rows: Sequence[Row]

    @property
    def best(self) -> Row | None:
        """The latest epoch of the best AP50, whose weights ``model.pt`` holds; None if AP50 is undefined."""
        measured = [row for row in self.rows if row.ap50 is not None]
        return max(measured, key=lambda row: (row.ap50, row.epoch), default=None)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Lower and upper bound of the best AP50; None if nobody has measured them."""
        match self.facts.get("result"):
            case {"ap50_interval": [float(low), float(high)]}:
                return low, high
        return None


def read_experiment(folder: Path) -> Experiment:
    """Read a run's folder.

    Raises:
        ModelError: it is no folder of a run, or a file of it is damaged.
    """
    if not (folder / FACTS).is_file():
        raise ModelError(f"{folder} is no folder of a training: it has no {FACTS}")
    try:
        facts = parse_json((folder / FACTS).read_bytes())
        recipe = yaml.safe_load((folder / RECIPE).read_text("utf-8"))
        rows = read_rows(folder / CURVES)
    except FileNotFoundError as error:
        raise ModelError(f"{folder} has no {Path(error.filename).name}: the training did not begin") from None
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise ModelError(f"cannot read the training in {folder}: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(facts, dict) or not isinstance(recipe, dict):
        raise ModelError(f"{FACTS} and {RECIPE} in {folder} must hold values by name: they are damaged")
    return Experiment(folder, _flat(recipe), facts, rows)


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``run.json``.

    Raises:
        ModelError: it cannot be written.
    """
    _write(folder / FACTS, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a table with one row for each epoch; what is None stays empty.

    Raises:
        ModelError: it cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for row in rows:
        values = [getattr(row, name) for name in _COLUMNS]
        table.writerow(["" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in values])
    _write(path, text.getvalue())


def read_rows(path: Path) -> list[Row]:
    """Read what ``write_rows`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    if not table or table[0] != _COLUMNS:
        raise ValueError(f"{path.name} must begin with {','.join(_COLUMNS)}")
    rows = []
    for number, line in enumerate(table[1:], 2):
        if len(line) != len(_COLUMNS):
            raise ValueError(f"line {number} of {path.name} must hold {len(_COLUMNS)} values, but holds {len(line)}")
        epoch, step, seconds, *rest = line
        rows.append(Row(int(epoch), int(step), float(seconds), *(float(v) if v else None for v in rest)))
    return rows


def draw_curves(path: Path, rows: Sequence[Row]) -> None:
    """Draw loss, AP and learning rate over the epochs.

    Raises:
        ModelError: the picture cannot be written.
    """
    panels = [
        Panel(title, "epoch", [Line(name, points(rows, column)) for column, name in columns.items()])
        for title, columns in (
            ("loss", {"loss": "loss", "loss_loc": "boxes", "loss_conf": "classes"}),
            ("AP on the validation images", {"ap50": "AP50", "ap": "AP"}),
            ("learning rate", {"lr": "learning rate"}),
        )
    ]
    draw(panels, path)


def points(rows: Sequence[Row], column: str) -> list[tuple[float, float]]:
    """Return (epoch, value) of a column of ``Row`` where it has a finite value."""
    pairs = [(float(row.epoch), getattr(row, column)) for row in rows]
    return [(epoch, value) for epoch, value in pairs if value is not None and math.isfinite(value)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _write(path: Path, text: str) -> None:
    try:
        with written_whole(path) as partial:
            partial.write_text(text, "utf-8", errors="surrogateescape")
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}; an earlier one is as it was") from None
