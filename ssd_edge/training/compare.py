"""Compare trainings by what their folders tell: settings that differ, best AP50, time, and curves over each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssd_edge.training.experiment import Experiment, Row, points
from ssd_edge.training.plot import Line, Panel, draw

_HASHES = ("labels_sha256", "images_sha256")
"""Facts by which two trainings were validated on the same images and labels, of those in ``run.json``."""


def differences(experiments: Sequence[Experiment]) -> dict[str, list[Any]]:
    """Return the settings that are not the same in all runs, each with its value in every run; None where it is absent.

    The number of workers, which changes no result, is left out.
    """
    names = dict.fromkeys(name for one in experiments for name in one.recipe if name != "workers")
    values = {name: [one.recipe.get(name) for one in experiments] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def same_validation(experiments: Sequence[Experiment]) -> bool:
    """Tell whether all runs were validated on the same images with the same labels, so that APs can be compared."""
    hashes = [[_part(one, "validation").get(name) for name in _HASHES] for one in experiments]
    return all(None not in one and one == hashes[0] for one in hashes)


def images_of(experiment: Experiment) -> int | None:
    """Return the number of images that a run learnt from; None if its record does not tell."""
    number = _part(experiment, "training").get("images")
    return number if isinstance(number, int) else None


def _part(experiment: Experiment, name: str) -> dict[str, Any]:
    part = experiment.facts.get(name)
    return part if isinstance(part, dict) else {}


def names_of(experiments: Sequence[Experiment]) -> list[str]:
    """Return a short name for each run: that of its folder, or its path if two folders have the same name."""
    short = [one.folder.resolve().name for one in experiments]
    return [name if short.count(name) == 1 else str(one.folder) for name, one in zip(short, experiments, strict=True)]


def as_json(experiments: Sequence[Experiment]) -> dict[str, Any]:
    """Convert a comparison to plain values for ``json.dumps``."""
    return {
        "runs": [
            {
                "folder": str(one.folder),
                "state": one.facts.get("state"),
                "best_ap50": one.best.ap50 if one.best else None,
                "best_ap50_interval": one.interval,
                "best_epoch": one.best.epoch if one.best else None,
                "epochs": last_of(one).epoch,
                "steps": last_of(one).step,
                "seconds": last_of(one).seconds,
                "recipe": dict(one.recipe),
                "training": _part(one, "training"),
                "validation": _part(one, "validation"),
            }
            for one in experiments
        ],
        "differences": differences(experiments),
        "same_validation": same_validation(experiments),
    }


def last_of(experiment: Experiment) -> Row:
    """Return the last epoch of a run; epoch 0 if it has done none."""
    return experiment.rows[-1] if experiment.rows else Row(0, 0, 0.0)


def draw_comparison(experiments: Sequence[Experiment], path: Path) -> None:
    """Draw AP50 over epochs and over minutes, and the loss over epochs, with a line for each run.

    Raises:
        ModelError: the picture cannot be written.
    """
    named = list(zip(names_of(experiments), experiments, strict=True))
    panels = [
        Panel("AP50 on the validation images", "epoch", [Line(name, points(one.rows, "ap50")) for name, one in named]),
        Panel("AP50 on the validation images", "minutes", [Line(name, _over_minutes(one.rows)) for name, one in named]),
        Panel("loss", "epoch", [Line(name, points(one.rows, "loss")) for name, one in named]),
    ]
    draw(panels, path)


def _over_minutes(rows: Sequence[Row]) -> list[tuple[float, float]]:
    minutes = {float(row.epoch): row.seconds / 60 for row in rows}
    return [(minutes[epoch], value) for epoch, value in points(rows, "ap50")]
