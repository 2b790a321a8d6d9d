"""What ``ssd-edge calibrate`` shows: bars, tables, sentences and the report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ssd_edge.cli.common import progress

if TYPE_CHECKING:
    from rich.table import Table

    from ssd_edge.calibration.choice import ChosenImages
    from ssd_edge.calibration.closest import Corrections
    from ssd_edge.calibration.contract import Search
    from ssd_edge.calibration.recipe import Made
    from ssd_edge.evaluation import Evaluation


def report_page(
    path: Path,
    made: Made,
    chosen: ChosenImages,
    before: Evaluation | None,
    after: Evaluation | None,
    here: Evaluation | None,
    speed: tuple[float, float],
    corrections: Corrections | None,
    search: Search | None,
    seed: int,
) -> None:
    """Write the page and JSON of ``calibrate --report``; arguments as in ``report.facts.gather``."""
    from ssd_edge.calibration.report.facts import gather, pictures, sensitivities
    from ssd_edge.calibration.report.files import write_report

    with ExitStack() as bars:
        tell = stages(bars)
        known = search.sensitivities if search else {}
        known = known or sensitivities(made, tell)
        tell("writing the report", 0, 1)
        facts = gather(
            made,
            command=shlex.join(["ssd-edge", *sys.argv[1:]]),
            fp32=before,
            int8_ap=after,
            engine_ap=here,
            fps=speed,
            corrections=corrections,
            search=search,
            sensitivities=known,
            pictures=pictures(chosen.read(lambda _: None), made.bench.seen.image_hashes),
            seed=seed,
        )
        write_report(facts, path)


def what_corrections_brought(corrections: Corrections) -> str:
    """Each that was tried, and whether it was used."""
    parts = [
        f"{name.replace('_', ' ')} {gain.without:.4f} → {gain.applied:.4f}{'' if gain.closer else ' (left out)'}"
        for name, gain in vars(corrections).items()
        if gain is not None
    ]
    return f"distance from FP32 on calibration images: {', '.join(parts)}" if parts else "rounded to the nearest"


def stages(shown: ExitStack) -> Callable[[str, int, int], None]:
    """A bar for each stage of a search, one after the other."""
    bars: dict[str, Callable[[int, int], None]] = {}

    def tell(what: str, done: int, total: int) -> None:
        if what not in bars:
            shown.close()
            bars[what] = shown.enter_context(progress(what))
        bars[what](done, total)

    return tell


def trials_table(search: Search) -> Table:
    """A row a file that a search measured; the one that was taken is bold."""
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


def ap_table(before: Evaluation, after: Evaluation, here: Evaluation) -> Table:
    """A row a class, and the mean: the FP32 file, the INT8 file, and the INT8 engine of this machine."""
    from rich.table import Table

    table = Table()
    for name in ("class", *(f"{number} {of}" for number in ("AP", "AP50") for of in ("FP32", "INT8", "INT8 engine"))):
        table.add_column(name, justify="left" if name == "class" else "right")

    def row(name: str, *values: float | None) -> None:
        table.add_row(name, *("–" if value is None else f"{value:.3f}" for value in values))

    results = before, after, here
    for rows in zip(*(result.per_class for result in results), strict=True):
        row(rows[0].label, *(one.ap for one in rows), *(one.voc_ap50 for one in rows))
    row("mean", *(result.ap for result in results), *(result.voc_map50 for result in results))
    return table
