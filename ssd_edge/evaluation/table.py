"""Show an evaluation, or the change between two, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ssd_edge.evaluation.intervals import Change, Interval
from ssd_edge.evaluation.resampling import OF_CLASS, OVERALL

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

    overall = result.intervals.overall

    def ap(shown: str, name: str) -> str:
        return f"{shown} {_with_interval(_shown(getattr(result, name)), overall[name], ' ')}"

    caption = (
        f"{ap('AP75', 'ap75')}  {ap('APsmall', 'ap_small')}",
        f"{ap('APmedium', 'ap_medium')}  {ap('APlarge', 'ap_large')}",
        f"AR1 {_shown(result.ar_1)}  AR10 {_shown(result.ar_10)}  AR100 {_shown(result.ar_100)}",
        f"ARsmall {_shown(result.ar_small)}  ARmedium {_shown(result.ar_medium)}  ARlarge {_shown(result.ar_large)}",
        "with each AP: its 95 % interval",
    )
    table = Table(caption="\n".join(caption), caption_justify="left")
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
    means = ("ap", "ap50", "voc_map50", "voc07_map50")
    cells = [_with_interval(_shown(getattr(result, name), "undefined"), overall[name]) for name in means]
    table.add_row("mean", str(sum(row.num_objects for row in result.per_class)), *cells)
    return table


def changes(result: Evaluation, other: Evaluation) -> dict[str, Any]:
    """Return the change of each AP from another evaluation of the same images, as plain values for ``json.dumps``."""

    def plain(names: tuple[str, ...], label: int | None = None) -> dict[str, Any]:
        found = {name: result.change_from(other, name, label) for name in names}
        return {name: change.to_json() if change else None for name, change in found.items()}

    return {"changes": {**plain(OVERALL), "per_class": [plain(OF_CLASS, k) for k in range(len(result.labels))]}}


def comparison(result: Evaluation, other: Evaluation) -> Table:
    """Make a table of AP and VOC AP50 of two evaluations of the same images, with the change and its 95 % interval."""
    from rich.table import Table
    from rich.text import Text

    table = Table(caption="change in AP from the other model to this one, with its 95 % interval")
    table.add_column("class")
    for heading in ("AP", "change", "AP50", "change"):
        table.add_column(heading, justify="right")
    for label, (row, before) in enumerate(zip(result.per_class, other.per_class, strict=True)):
        changes = (result.change_from(other, name, label) for name in ("ap", "voc_ap50"))
        values = (before.ap, row.ap), (before.voc_ap50, row.voc_ap50)
        table.add_row(Text(row.label), *_changed(values, changes))
    table.add_section()
    changes = (result.change_from(other, name) for name in ("ap", "voc_map50"))
    table.add_row("mean", *_changed(((other.ap, result.ap), (other.voc_map50, result.voc_map50)), changes))
    return table


def _changed(values: Iterable[tuple[float | None, float | None]], changes: Iterable[Change | None]) -> Iterator[str]:
    for (before, after), change in zip(values, changes, strict=True):
        yield f"{_shown(before)} → {_shown(after)}"
        yield "–" if change is None else "{:+.3f}\n{:+.3f}…{:+.3f}".format(change.value, *change.interval)


def _with_interval(shown: str, interval: Interval | None, between: str = "\n") -> str:
    return f"{shown}{between}{interval.low:.3f}–{interval.high:.3f}" if interval else shown


def _shown(value: float | None, undefined: str = "–") -> str:
    return undefined if value is None else f"{value:.3f}"
