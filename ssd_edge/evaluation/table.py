"""Show an evaluation, or the change between two, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ssd_edge.evaluation.intervals import Interval
from ssd_edge.evaluation.resampling import OF_CLASS

if TYPE_CHECKING:
    from rich.table import Table

    from ssd_edge.evaluation import Evaluation


def table_of(result: Evaluation, unknown_classes: Mapping[str, int]) -> Table:
    """Make a table: a row per class, the means, then COCO's other numbers; 95 % intervals below the numbers.

    An undefined number is "–" in a class, and "undefined" in the means.

    Args:
        result: the evaluation.
        unknown_classes: number of boxes of each class that the model lacks and the images show.
    """
    from rich.table import Table
    from rich.text import Text

    sizes = {"AP75": result.ap75, "APsmall": result.ap_small, "APmedium": result.ap_medium, "APlarge": result.ap_large}
    recalls = {"AR1": result.ar_1, "AR10": result.ar_10, "AR100": result.ar_100}
    recalls |= {"ARsmall": result.ar_small, "ARmedium": result.ar_medium, "ARlarge": result.ar_large}
    lines = ("  ".join(f"{name} {_shown(value)}" for name, value in row.items()) for row in (sizes, recalls))
    table = Table(caption="\n".join((*lines, "below each AP: its 95 % interval")))
    table.add_column("class")
    for heading in ("objects", "AP", "AP50", "VOC AP50", "VOC07 AP50"):
        table.add_column(heading, justify="right")
    for row, intervals in zip(result.per_class, result.intervals.per_class, strict=True):
        cells = [_with_interval(_shown(getattr(row, name)), intervals[name]) for name in OF_CLASS]
        # As Text, so that a class named "[red]" is not taken for markup.
        table.add_row(Text(row.label), str(row.num_objects), *cells)
    for name, number in unknown_classes.items():
        table.add_row(Text(f"{name} (not in the model)"), str(number), *["–"] * 4)
    table.add_section()
    overall = result.intervals.overall
    means = ("ap", "ap50", "voc_map50", "voc07_map50")
    cells = [_with_interval(_shown(getattr(result, name), "undefined"), overall[name]) for name in means]
    table.add_row("mean", str(sum(row.num_objects for row in result.per_class)), *cells)
    return table


def _with_interval(shown: str, interval: Interval | None) -> str:
    return f"{shown}\n{interval.low:.3f}–{interval.high:.3f}" if interval else shown


def _shown(value: float | None, undefined: str = "–") -> str:
    return undefined if value is None else f"{value:.3f}"
