"""``ssd-edge check-data``: what is in a data set, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.common import printable, progress
from ssd_edge.data.wording import LISTED

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column

    from ssd_edge.data.report import Report


def check_data(
    data: Annotated[
        Path,
        typer.Argument(
            help="Data set: a Pascal VOC, COCO or YOLO folder, a COCO JSON file or a YOLO yaml file.",
            show_default=False,
        ),
    ],
    split: Annotated[
        str,
        typer.Option(
            help="Split to check, such as train or val; without it all images, and copies that splits have in common.",
            show_default=False,
        ),
    ] = "",
    show_all: Annotated[bool, typer.Option("--all", help=f"List every problem, not the first {LISTED}.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check a data set before training: read every image and box, and list what is wrong.

    No file is changed. Training leaves out whatever is listed here as left out.

    Exit code 0: nothing wrong; 1: problems were found, or no object to learn from; 2: the data set cannot be read.

    Next: ssd-edge train DATA
    """
    from rich.console import Console

    from ssd_edge.data.check_splits import check_splits

    with progress("looking at images") as bar:
        report = check_splits(data, split, bar)
    console = Console()
    if as_json:
        console.print_json(data=report.to_json(), ensure_ascii=True)
    else:
        _show(console, report, show_all)
    if report.issues or not report.objects_to_find:
        raise typer.Exit(1)


def _show(console: Console, report: Report, show_all: bool) -> None:
    """Classes, then each problem on a line, then how many of each kind."""
    from rich.table import Table
    from rich.text import Text

    def say(line: str, style: str = "") -> None:
        console.print(Text(printable(line), style), soft_wrap=True)

    dataset = report.dataset
    split = f", split {dataset.split}" if dataset.split else ""
    say(f"{dataset.root}: {dataset.format}{split}, {len(report.clean)} usable of {report.images} images", "bold")
    classes = Table("class", *(_right(name) for name in ("images", "boxes", "to learn", "median box")))
    for row in report.classes():
        size = f"{row.median_width:.0f} × {row.median_height:.0f}" if row.objects else "–"
        classes.add_row(Text(printable(row.name)), str(row.images), str(row.objects), str(row.to_find), size)
    console.print(classes)

    shown = report.issues if show_all else report.issues[:LISTED]
    for issue in shown:
        say(f"{issue.kind}: {issue.path}: {issue.detail} ({issue.handled})")
    if len(shown) < len(report.issues):
        say(f"… and {len(report.issues) - len(shown)} more: add --all to list them")
    if report.issues:
        kinds = Table("problem", _right("times"))
        for kind, count in report.counts().items():
            kinds.add_row(kind, str(count))
        console.print(kinds)
    say(report.summary(), "green" if report.objects_to_find and not report.issues else "yellow")


def _right(name: str) -> Column:
    from rich.table import Column

    return Column(name, justify="right")
