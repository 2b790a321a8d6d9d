"""``ssd-edge check-data``: what is in a data set, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.choices import help_of
from ssd_edge.cli.common import printable, progress, say
from ssd_edge.data.augment.catalogue import AUGMENTATIONS, DEFAULT_AUGMENTATION
from ssd_edge.data.wording import LISTED
from ssd_edge.models.catalogue import DEFAULT_MODEL, FIT, parse_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Column

    from ssd_edge.data.coverage import ClassCoverage
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
    model_name: Annotated[
        str,
        typer.Option(
            help="Network whose default boxes are compared with the objects, a name that train --model takes; it also "
            f"gives the input size of --preview, else {DEFAULT_MODEL} does.",
            show_default=False,
        ),
    ] = "",
    input_size: Annotated[
        str,
        typer.Option(
            "--input", metavar="WIDTHxHEIGHT", help="With --model-name: input size, as in train.", show_default=False
        ),
    ] = "",
    box_sizes: Annotated[
        str, typer.Option(help="With --model-name: default-box sizes, as in train.", show_default=False)
    ] = "",
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            dir_okay=False,
            help="With --model-name: draw the sizes of the default boxes beside those of the objects.",
        ),
    ] = None,
    preview: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            dir_okay=False,
            help="Draw a plate of samples: as labelled, and augmented as in training.",
        ),
    ] = None,
    augmentation: Annotated[
        str,
        typer.Option(
            help=f"With --preview: {help_of(AUGMENTATIONS, DEFAULT_AUGMENTATION)}.",
            show_default=False,
        ),
    ] = "",
    show_all: Annotated[bool, typer.Option("--all", help=f"List every problem, not the first {LISTED}.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check a data set before training: read every image and box, and list what is wrong.

    No file is changed. Training leaves out whatever is listed here as left out. With --model, labels are compared with
    what a trained model sees; those are for a person to judge, and count neither as problems nor for the exit code.

    With --model-name, the table says which share of each class no default box fits: objects of another size or shape
    than the boxes, which are learnt badly.

    Exit code 0: nothing wrong; 1: problems were found, or no object to learn from; 2: the data set cannot be read.

    Next: ssd-edge train DATA
    """
    from rich.console import Console

    from ssd_edge.cli.doubts import find_doubts
    from ssd_edge.data.box_fit import choose_boxes
    from ssd_edge.data.box_picture import draw_boxes
    from ssd_edge.data.check_splits import check_splits
    from ssd_edge.data.coverage import coverage
    from ssd_edge.models.registry import make_spec
    from ssd_edge.preview import Plate

    for option, value in (("--input", input_size), ("--box-sizes", box_sizes), ("--boxes", boxes)):
        if value and not model_name:
            raise typer.BadParameter(f"{option} is for --model-name: add the name of a network, or drop {option}")
    if augmentation and preview is None:
        raise typer.BadParameter("--augmentation is for --preview: add --preview FILE.png, or drop --augmentation")
    if report_page is not None and model is None:
        raise typer.BadParameter("--report shows what a model contradicts: add --model")
    spec = make_spec(model_name or DEFAULT_MODEL, ["any"], box_sizes, parse_input(input_size))
    plate = None if preview is None else Plate(preview, augmentation or DEFAULT_AUGMENTATION, spec)
    with progress("looking at images") as bar:
        report = check_splits(data, split, bar)
    doubts = find_doubts(model, report.clean, report_page) if model is not None else None
    chosen = choose_boxes(spec, report.clean, box_sizes == FIT) if model_name else None
    unmatched = coverage(report.clean, chosen.spec) if chosen else None
    if boxes is not None and chosen is not None:
        draw_boxes(chosen, boxes)
    console = Console()
    if as_json:
        listed = {} if doubts is None else {"doubts": [one.to_json() for one in doubts if one.certainty]}
        counts = {} if unmatched is None else {"unmatched": {row.name: row.unmatched for row in unmatched}}
        counts |= chosen.to_json() if chosen else {}
        console.print_json(data={**report.to_json(), **listed, **counts}, ensure_ascii=True)
    else:
        _show(console, report, unmatched, show_all)
        if chosen is not None and (chosen.fit or boxes is not None):
            console.print(printable(chosen.sentence()), soft_wrap=True, markup=False)
        if doubts is not None:
            _show_doubts(console, doubts, report_page, show_all)
    if boxes is not None:
        say(f"default boxes: {boxes}")
    if plate is not None:
        plate.write(report.clean)
        say(f"preview: {preview}")
    if report.issues or not report.objects_to_find:
        raise typer.Exit(1)


def _show(console: Console, report: Report, unmatched: Sequence[ClassCoverage] | None, show_all: bool) -> None:
    """Show the classes, then each problem on a line, then how many of each kind."""
    from rich.table import Table
    from rich.text import Text

    def write(line: str, style: str = "") -> None:
        console.print(Text(printable(line), style), soft_wrap=True)

    dataset = report.dataset
    split = f", split {dataset.split}" if dataset.split else ""
    write(f"{dataset.root}: {dataset.format}{split}, {len(report.clean)} usable of {report.images} images", "bold")
    classes = Table("class", *(_right(name) for name in ("images", "boxes", "to learn", "median box")))
    if unmatched is not None:
        classes.add_column("no default box", justify="right")
    for k, row in enumerate(report.classes()):
        size = f"{row.median_width:.0f} × {row.median_height:.0f}" if row.objects else "–"
        share = [] if unmatched is None else [f"{unmatched[k].share:.1%}" if row.to_find else "–"]
        classes.add_row(Text(printable(row.name)), str(row.images), str(row.objects), str(row.to_find), size, *share)
    console.print(classes)

    shown = report.issues if show_all else report.issues[:LISTED]
    for issue in shown:
        write(f"{issue.kind}: {issue.path}: {issue.detail} ({issue.handled})")
    if len(shown) < len(report.issues):
        write(f"… and {len(report.issues) - len(shown)} more: add --all to list them")
    if report.issues:
        kinds = Table("problem", _right("times"))
        for kind, count in report.counts().items():
            kinds.add_row(kind, str(count))
        console.print(kinds)
    write(report.summary(), "green" if report.objects_to_find and not report.issues else "yellow")


def _show_doubts(console: Console, doubts: list[Doubt], page: Path | None, show_all: bool) -> None:
    from rich.text import Text

    from ssd_edge.cli.doubts import lines, summary

    for line in lines(doubts, len(doubts) if show_all else LISTED):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(summary(doubts) + (f"; pictures: {page}" if page else "")), soft_wrap=True)


def _right(name: str) -> Column:
    from rich.table import Column

    return Column(name, justify="right")
