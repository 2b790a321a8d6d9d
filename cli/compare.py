"""``ssd-edge compare``: show trainings side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.common import cell, print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssd_edge.training.experiment import Experiment


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of trainings, as ssd-edge train -o names them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture of the curves, a PNG file.")] = Path(
        "runs/compare.png"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare trainings: settings that differ, best AP50, epochs and time, and a picture of their curves.

    AP50 is that on the validation images, from which the best epoch was chosen too; measure the models that are left on
    test images.

    Next: ssd-edge eval RUN/model.pt DATA --split test
    """
    from ssd_edge.training import compare as comparison
    from ssd_edge.training.experiment import read_experiment

    experiments = [read_experiment(run) for run in runs]
    comparison.draw_comparison(experiments, output)
    if as_json:
        print_json({**comparison.as_json(experiments), "picture": str(output)})
        return
    _print(experiments)
    if not comparison.same_validation(experiments):
        say("these runs were not validated on the same images and labels: their AP50 cannot be compared", "yellow")
    say(f"curves: {output}")


def _print(experiments: Sequence[Experiment]) -> None:
    from rich.console import Console
    from rich.table import Table

    from ssd_edge.training.compare import differences, images_of, last_of, names_of

    table = Table()
    table.add_column("")
    for name in names_of(experiments):
        table.add_column(cell(name), justify="right", overflow="fold")
    rows = {
        "best AP50": [_best(one) for one in experiments],
        "in epoch": [str(one.best.epoch) if one.best else "–" for one in experiments],
        "epochs done": [str(last_of(one).epoch) for one in experiments],
        "minutes": [f"{last_of(one).seconds / 60:.1f}" for one in experiments],
        "training images": [str(images_of(one) or "–") for one in experiments],
        "state": [str(one.facts.get("state", "–")) for one in experiments],
    }
    for name, values in rows.items():
        table.add_row(name, *map(cell, values))
    table.add_section()
    for name, settings in differences(experiments).items():
        table.add_row(cell(name), *(cell("–" if value is None else value) for value in settings))
    Console().print(table)


def _best(experiment: Experiment) -> str:
    """The best AP50, with its interval where one was measured."""
    best, interval = experiment.best, experiment.interval
    if best is None:
        return "undefined"
    return f"{best.ap50:.3f}" + (f" ({interval[0]:.3f} … {interval[1]:.3f})" if interval else "")
