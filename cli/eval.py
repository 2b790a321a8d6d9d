"""``ssd-edge eval``: measure a model, in any form, on labelled images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.cli.common import print_json, progress, say
from ssd_edge.cli.eval_beside import Beside
from ssd_edge.hints import command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from ssd_edge.data.dataset import Target
    from ssd_edge.data.report import Report
    from ssd_edge.detections import Detections
    from ssd_edge.evaluation.matching import Matches
    from ssd_edge.evaluation.operating import OperatingPoint, Wish
    from ssd_edge.spec import ModelSpec


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model to evaluate: NAME.engine/, NAME.onnx, NAME.pt or NAME.ckpt.")],
    data: Annotated[Path, typer.Argument(help="Data set: a Pascal VOC, COCO or YOLO folder or file.")],
    split: Annotated[
        str,
        typer.Option(
            help="Split to evaluate on, such as test; held-out for the images that the model's training held out."
        ),
    ] = "",
    choose_thresholds: Annotated[
        str,
        typer.Option(
            metavar="precision=0.9|recall=0.9",
            help="Choose a score threshold for each class that reaches this precision or recall, and write it into the "
            "model, where run reads it.",
        ),
    ] = "",
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            dir_okay=False,
            help="Write a page on where the model fails: the kinds of error and what each costs, curves, the worst "
            "images.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Another model with the same classes: measure the difference on the same images, with its interval.",
            show_default=False,
        ),
    ] = None,
    leaks: Annotated[
        bool,
        typer.Option("--leaks", help="Measure again without images that look like one of the split for training."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure average precision (AP) on a data set, by the rules of COCO and of Pascal VOC, overall and by class.

    Below each AP stands its 95 % interval: the APs that many more images of the same kind could show. Images of one
    scene count as one.

    A checkpoint, its ONNX file and its engines share one preprocessing and decode, so their numbers are comparable. An
    ONNX file is computed exactly, the same on every processor; an engine runs as it does on this machine.

    A model that was validated on a held-out part of its data set knows those images again: --split held-out.

    Next: ssd-edge calibrate HEADS.onnx DATA, or ssd-edge run MODEL --camera 0
    """
    from rich.console import Console

    from ssd_edge.data.report import measured_facts
    from ssd_edge.data.wording import counted
    from ssd_edge.engines.opening import open_model, set_operating_scores
    from ssd_edge.evaluation import evaluate as evaluate_detections
    from ssd_edge.evaluation.model import detect_in
    from ssd_edge.evaluation.operating import choose
    from ssd_edge.evaluation.table import table_of

    wish, value = _wish(choose_thresholds) if choose_thresholds else (None, 0.0)
    with open_model(model, say) as engine, progress("evaluating") as bar:
        detections, targets, data_report = detect_in(engine, data, split, bar)
    labels = engine.spec.labels
    result = evaluate_detections(detections, targets, labels, data_report.scenes)
    beside = Beside.measured(result, data_report, against, leaks)
    matches = [one.voc for one in result.matched.classes]
    points = choose(matches, labels, wish, value) if wish else []
    spec = engine.spec
    if points:
        spec = replace(spec, operating_scores={one.label: one.score for one in points if one.score is not None})
        set_operating_scores(model, spec, dict(spec.operating_scores))
    studied = _study(report, model, spec, data_report, detections, targets, matches) if report else {}
    if as_json:
        chosen = {"operating_points": [one.to_json() for one in points]} if points else {}
        ran_as = {"model": str(model), "backend": engine.backend, "precision": engine.precision}
        print_json(
            {**ran_as, **result.to_json(), **chosen, **beside.to_json(), **studied, "data": measured_facts(data_report)}
        )
        return
    _say_what_was_measured(data_report, model, data, spec)
    if model.is_dir():
        say(f"engine: {engine.backend} {engine.precision}, as it runs on this machine")
    Console().print(table_of(result, data_report.unknown_classes()))
    beside.show(Console(), model)
    if not data_report.objects_to_find:
        say(f"AP is undefined: no object to find in {counted(len(data_report.clean), 'image')}", "yellow")
    if points:
        Console().print(_table(points))
        left = [one.label for one in points if one.score is None]
        if left:
            say(f"no score gives {choose_thresholds} for {', '.join(left)}: shown from the usual score on", "yellow")
        say(f"{model}: keeps these scores; ssd-edge run shows each class from its own on")
    if report:
        say(f"{report}: where it fails")


def _say_what_was_measured(measured_on: Report, model: Path, data: Path, spec: ModelSpec) -> None:
    """Say which images were measured on, and what speaks against them."""
    from ssd_edge.data.wording import counted, described
    from ssd_edge.evaluation.model import unseen_split

    say(f"measured on {described(measured_on.clean)}")
    if measured_on.issues:
        say(measured_on.summary())
    if (scenes := len(set(measured_on.scenes))) < len(measured_on.clean):
        say(f"they show {counted(scenes, 'scene')}: images of one scene count as one for the intervals")
    if unseen := unseen_split(measured_on, spec):
        hint = command("eval", model, data, "--split", unseen)
        say(f"the model may have learnt from some of these; {hint} measures on those that it did not", "yellow")


def _study(
    page_file: Path,
    model: Path,
    spec: ModelSpec,
    measured_on: Report,
    detections: Sequence[Detections],
    targets: Sequence[Target],
    matches: Sequence[Matches],
) -> dict[str, Any]:
    """Write the page of ``--report``; return its numbers for ``--json``."""
    from ssd_edge.data.wording import described
    from ssd_edge.failures.page import page
    from ssd_edge.failures.study import study
    from ssd_edge.files import write_text_whole
    from ssd_edge.loop.chosen import DEFAULT_SCORE

    images = [sample.image for sample in measured_on.clean]
    found = study(images, detections, targets, spec.labels, spec.operating_score_of_each(DEFAULT_SCORE), matches)
    with progress("drawing the worst images") as bar:
        text = page(found, model.name, f"measured on {described(measured_on.clean)}", bar)
    write_text_whole(page_file, text)
    return {"failures": found.to_json()}


def _wish(text: str) -> tuple[Wish, float]:
    wish, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if wish not in ("precision", "recall") or not 0 < value <= 1:
        raise typer.BadParameter(
            f"--choose-thresholds takes precision=0.9 or recall=0.9, a number up to 1, but got {text!r}"
        )
    return ("precision" if wish == "precision" else "recall"), value


def _table(points: Sequence[OperatingPoint]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("class", "objects", "shown from", "precision", "recall"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for one in points:
        numbers = ("–" if value is None else f"{value:.3f}" for value in (one.score, one.precision, one.recall))
        table.add_row(Text(one.label), str(one.num_objects), *numbers)
    return table
