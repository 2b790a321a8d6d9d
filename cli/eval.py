"""``ssd-edge eval``: any form of a model against labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.cli.common import print_json, progress, say


def evaluate(
    model: Annotated[Path, typer.Argument(help="NAME.engine/, NAME.onnx, NAME.pt or NAME.ckpt.")],
    data: Annotated[Path, typer.Argument(help="The data set: a Pascal VOC, COCO or YOLO folder or file.")],
    split: Annotated[str, typer.Option(help="Part to evaluate on, such as test.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Measure average precision, COCO's and Pascal VOC's, in all and for each class.

    A checkpoint, its ONNX file and its engines go through the same preprocessing and decode, so their numbers
    compare.

    Next: ssd-edge calibrate HEADS.onnx DATA, or ssd-edge run MODEL --camera 0
    """
    from rich.console import Console

    from ssd_edge.engines.opening import open_model
    from ssd_edge.evaluation.model import evaluate_model

    engine = open_model(model, say)
    with progress("evaluating") as advance:
        result, report = evaluate_model(engine, data, split, advance)
    engine.close()
    if as_json:
        print_json({"model": str(model), "backend": engine.backend, "precision": engine.precision, **result.to_json()})
        return
    if report.issues:
        say(report.summary())
    Console().print(result.table())
