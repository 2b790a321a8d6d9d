"""``ssd-edge eval``: measure a model, in any form, on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.common import print_json, progress, say
from ssd_edge.hints import command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from ssd_edge.evaluation.operating import OperatingPoint, Wish


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
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure average precision (AP) on a data set, by the rules of COCO and of Pascal VOC, overall and by class.

    A checkpoint, its ONNX file and its engines share one preprocessing and decode, so their numbers are comparable. An
    ONNX file is computed exactly, the same on every processor; an engine runs as it does on this machine.

    A model that was validated on a held-out part of its data set knows those images again: --split held-out.

    Next: ssd-edge calibrate HEADS.onnx DATA, or ssd-edge run MODEL --camera 0
    """
    from rich.console import Console

    from ssd_edge.data.report import measured_facts
    from ssd_edge.data.wording import counted, described
    from ssd_edge.engines.opening import open_model, set_operating_scores
    from ssd_edge.evaluation import evaluate as evaluate_detections
    from ssd_edge.evaluation.model import detect_in, unseen_split
    from ssd_edge.evaluation.operating import choose

    wish, value = _wish(choose_thresholds) if choose_thresholds else (None, 0.0)
    with open_model(model, say) as engine, progress("evaluating") as bar:
        detections, targets, report = detect_in(engine, data, split, bar)
    labels = engine.spec.labels
    result = evaluate_detections(detections, targets, labels)
    points = choose(detections, targets, labels, wish, value) if wish else []
    if points:
        set_operating_scores(model, engine.spec, {one.label: one.score for one in points if one.score is not None})
    if as_json:
        chosen = {"operating_points": [one.to_json() for one in points]} if points else {}
        ran_as = {"model": str(model), "backend": engine.backend, "precision": engine.precision}
        print_json({**ran_as, **result.to_json(), **chosen, "data": measured_facts(report)})
        return
    say(f"measured on {described(report.clean)}")
    if report.issues:
        say(report.summary())
    if unseen := unseen_split(report, engine.spec):
        hint = command("eval", model, data, "--split", unseen)
        say(f"the model may have learnt from some of these; {hint} measures on those that it did not", "yellow")
    if model.is_dir():
        say(f"engine: {engine.backend} {engine.precision}, as it runs on this machine")
    Console().print(result.table(report.unknown_classes()))
    if not report.objects_to_find:
        say(f"AP is undefined: no object to find in {counted(len(report.clean), 'image')}", "yellow")
    if points:
        Console().print(_table(points))
        left = [one.label for one in points if one.score is None]
        if left:
            say(f"no score gives {choose_thresholds} for {', '.join(left)}: shown from the usual score on", "yellow")
        say(f"{model}: keeps these scores; ssd-edge run shows each class from its own on")


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
