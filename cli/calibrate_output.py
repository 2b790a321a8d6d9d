"""Output of ``ssd-edge calibrate``: the report page, tables and sentences."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssd_edge.cli.common import cell, how_fast, progress, say
from ssd_edge.hints import command

if TYPE_CHECKING:
    from rich.table import Table

    from ssd_edge.calibration.choice import ChosenImages
    from ssd_edge.calibration.outcome import Outcome
    from ssd_edge.calibration.recipe import Corrections
    from ssd_edge.calibration.search import Search
    from ssd_edge.data.report import Report
    from ssd_edge.evaluation import Evaluation


def write_report_page(path: Path, outcome: Outcome, chosen: ChosenImages, seed: int) -> None:
    """Write the report page of ``calibrate --report``, with a JSON file beside it."""
    from ssd_edge.calibration.report.facts import gather, pictures
    from ssd_edge.calibration.report.files import write_report
    from ssd_edge.progress import no_note

    hashes = outcome.making.quantiser.seen.image_hashes if outcome.making else []
    with progress("writing the report") as bar:
        ran = command(*sys.argv[1:])
        shown = pictures(chosen.read(no_note), hashes)
        write_report(gather(outcome, command=ran, pictures=shown, seed=seed, progress=bar), path)


def show(outcome: Outcome, given: str, report: Path | None, images: str, reports: Sequence[Report]) -> None:
    """Print an outcome as sentences and tables.

    Args:
        outcome: what the calibration made.
        given: the origin of scales that were given; empty if they were found here.
        report: the report page that was written, if any.
        images: what the images to calibrate with were chosen from; "" if there were none.
        reports: the reports on the images that AP was measured on, the same each time.
    """
    from rich.console import Console

    from ssd_edge.calibration.certainty import loss, outlook

    file, here = outcome.file, outcome.here
    origin = given or f"{outcome.method} over {outcome.num_images} images"
    say(f"{file.path}: {file.num_quantised} of {file.num_convolutions} convolutions in INT8, {origin}")
    if images:
        say(f"calibrated with images of {images}")
    _say_what_was_measured_on(reports)
    if outcome.corrections:
        say(_what_corrections_brought(outcome.corrections))
    if outcome.before and outcome.after and here and here.ap:
        Console().print(_ap_table(outcome.before, outcome.after, here.ap))
    if outcome.change and not outcome.search:
        say(f"AP of INT8: {loss(outcome.change)}; {outlook(outcome.change)}")
    if outcome.search:
        Console().print(_trials_table(outcome.search))
        say(outcome.search.reason)
    if report:
        say(f"{report}: the report, and {report.with_suffix('.json').name} beside it")
    if here:
        say(*how_fast(*here.fps))
    say(f"next: {command('build-engine', file.path)}")


def _say_what_was_measured_on(reports: Sequence[Report]) -> None:
    from ssd_edge.data.wording import counted, described

    for measured in reports[:1]:
        say(f"AP measured on {described(measured.clean)}")
        if measured.issues:
            say(measured.summary())
        if not measured.objects_to_find:
            say(f"AP is undefined: no object to find in {counted(len(measured.clean), 'image')}", "yellow")


def _what_corrections_brought(corrections: Corrections) -> str:
    """Say for each correction that was tried what it brought, and whether it was used."""
    parts = [
        f"{name.replace('_', ' ')} {gain.without:.4f} → {gain.applied:.4f}{'' if gain.closer else ' (left out)'}"
        for name, gain in vars(corrections).items()
        if gain is not None
    ]
    return f"distance from FP32 on calibration images: {', '.join(parts)}" if parts else "rounded to the nearest"


def _trials_table(search: Search) -> Table:
    """Make a table with a row for each file that the search measured; the chosen one is bold."""
    from rich.table import Table

    table = Table()
    for name in ("method", "biases", "rounding", "FP32", "INT8", "AP", "AP lost"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for trial in search.trials:
        recipe = trial.recipe
        corrected = "corrected" if recipe.bias_correction else "as they are"
        rounding = "learned" if recipe.learned_rounding else "nearest"
        numbers = (str(len(recipe.in_float)), str(trial.num_int8), f"{trial.ap:.2f}", f"{trial.drop:.2f}")
        table.add_row(recipe.method, corrected, rounding, *numbers, style="bold" if trial == search.best else "")
    return table


def _ap_table(before: Evaluation, after: Evaluation, here: Evaluation) -> Table:
    """Make a table of AP and AP50 by class, with the mean: FP32 file, INT8 file and INT8 engine on this machine."""
    from rich.table import Table

    table = Table()
    for name in ("class", *(f"{measure} {of}" for measure in ("AP", "AP50") for of in ("FP32", "INT8", "INT8 engine"))):
        table.add_column(name, justify="left" if name == "class" else "right")

    def row(name: str, *values: float | None, undefined: str = "–") -> None:
        table.add_row(cell(name), *(undefined if value is None else f"{value:.3f}" for value in values))

    results = before, after, here
    for rows in zip(*(result.per_class for result in results), strict=True):
        row(rows[0].label, *(one.ap for one in rows), *(one.voc_ap50 for one in rows))
    row("mean", *(result.ap for result in results), *(result.voc_map50 for result in results), undefined="undefined")
    return table
