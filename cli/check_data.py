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
    from ssd_edge.failures.labels import Doubt


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
    model: Annotated[
        Path | None,
        typer.Option(
            help="A trained model of these classes, in any form: lists the labels that it contradicts, worst first.",
            show_default=False,
        ),
    ] = None,
    report_page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            dir_okay=False,
            help="With --model: write a page with a picture of each such label.",
        ),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help=f"List every problem, not the first {LISTED}.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check a data set before training: read every image and box, and list what is wrong.

    No file is changed. Training leaves out whatever is listed here as left out. With --model, labels are compared with
    what a trained model sees; those are for a person to judge, and count neither as problems nor for the exit code.

    Exit code 0: nothing wrong; 1: problems were found, or no object to learn from; 2: the data set cannot be read.

    Next: ssd-edge train DATA
    """
    from rich.console import Console

    from ssd_edge.cli.doubts import find_doubts
    from ssd_edge.data.check_splits import check_splits

    if report_page is not None and model is None:
        raise typer.BadParameter("--report shows what a model contradicts: add --model")
    with progress("looking at images") as bar:
        report = check_splits(data, split, bar)
    doubts = find_doubts(model, data, split, report_page) if model is not None else None
    console = Console()
    if as_json:
        listed = {} if doubts is None else {"doubts": [one.to_json() for one in doubts if one.certainty]}
        console.print_json(data={**report.to_json(), **listed}, ensure_ascii=True)
    else:
        _show(console, report, show_all)
        if doubts is not None:
            _show_doubts(console, doubts, report_page, show_all)
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


def _show_doubts(console: Console, doubts: list[Doubt], page: Path | None, show_all: bool) -> None:
    from rich.text import Text

    from ssd_edge.cli.doubts import lines, summary

    for line in lines(doubts, len(doubts) if show_all else LISTED):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(summary(doubts) + (f"; pictures: {page}" if page else "")), soft_wrap=True)


def _right(name: str) -> Column:
    from rich.table import Column

    return Column(name, justify="right")
