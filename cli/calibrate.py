"""``ssd-edge calibrate``: FP32 heads and images → INT8 heads, with the AP before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.cli.common import print_json, progress, say

if TYPE_CHECKING:
    from ssd_edge.evaluation import Evaluation
    from ssd_edge.spec import ModelSpec


def calibrate(
    onnx: Annotated[Path, typer.Argument(help="FP32 heads of ssd-edge export or import-onnx.")],
    data: Annotated[Path, typer.Argument(help="A data set, or a folder of images like those the engine will see.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The INT8 file; NAME.int8.onnx beside it if not given.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="How scales are chosen: percentile, entropy (Kullback-Leibler) or min-max.")
    ] = "percentile",
    images: Annotated[int, typer.Option(min=1, help="Images to calibrate with, spread over the data.")] = 128,
    split: Annotated[str, typer.Option(help="Part of the data set to calibrate with, such as train.")] = "",
    eval_split: Annotated[str, typer.Option(help="Part to measure AP on, such as val.")] = "",
    skip: Annotated[list[str] | None, typer.Option(help="A convolution to leave in FP32; may be repeated.")] = None,
    depthwise: Annotated[
        bool, typer.Option("--depthwise", help="Quantise depthwise convolutions too; RTX engines grow by it.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of images.")] = 0,
    no_eval: Annotated[bool, typer.Option("--no-eval", help="Do not measure AP; for images without labels.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make an INT8 model: explicit Q/DQ in ONNX, which OpenVINO, ONNX Runtime, TensorRT and TensorRT-RTX all take.

    The AP before and after is measured here, on the CPU, with the very file that a device gets. Calibrate with
    images like those the camera will see; a hundred suffice.

    Next: ssd-edge build-engine NAME.int8.onnx
    """
    try:
        from ssd_edge.calibration.calibrate import calibrate as calibrate_heads
    except ModuleNotFoundError as error:
        from ssd_edge.errors import MissingDependencyError

        raise MissingDependencyError(error.name or "onnx", "calibrate", "calibrate") from None
    from rich.console import Console

    from ssd_edge.data.images import image_files, preprocessed, readable, spread
    from ssd_edge.engines.onnxruntime import read_spec

    target = output or onnx.with_suffix(".int8.onnx")
    spec = read_spec(onnx)
    if not no_eval:
        _require_labels(data, eval_split, spec)
    files = spread(image_files(data, split), images, seed)
    unreadable: list[str] = []
    with progress("calibrating") as advance:
        result = calibrate_heads(
            onnx,
            target,
            preprocessed(readable(files, unreadable.append), spec),
            method=method,
            skip=skip or (),
            depthwise=depthwise,
            progress=lambda done: advance(done, len(files)),
        )
    for sentence in unreadable:
        say(f"left out: {sentence}")
    before = None if no_eval else _ap(onnx, spec, "FP32", data, eval_split)
    after = None if no_eval else _ap(target, spec, "INT8", data, eval_split)
    if as_json:
        print_json(
            {
                "onnx": str(target),
                "method": result.method,
                "images": result.num_images,
                "convolutions": result.num_convolutions,
                "quantised": result.num_quantised,
                "fp32": before.to_json() if before else None,
                "int8": after.to_json() if after else None,
            }
        )
        return
    say(
        f"{target}: {result.num_quantised} of {result.num_convolutions} convolutions in INT8, "
        f"{result.method} over {result.num_images} images"
    )
    if before and after:
        Console().print(_table(before, after))
    say(f"next: ssd-edge build-engine {target}")


def _require_labels(data: Path, split: str, spec: ModelSpec) -> None:
    """Found out now, not after the calibration."""
    from ssd_edge.data.readers import open_dataset
    from ssd_edge.errors import DataError

    try:
        open_dataset(data, split, spec.labels)
    except DataError as error:
        raise DataError(f"{error}; for images without labels add --no-eval") from None


def _ap(onnx: Path, spec: ModelSpec, precision: str, data: Path, split: str) -> Evaluation:
    """On OpenVINO, which reads the ONNX file itself."""
    from ssd_edge.engines.openvino import OpenVinoEngine
    from ssd_edge.evaluation.model import evaluate_model

    engine = OpenVinoEngine(onnx, spec, precision)
    with progress(f"AP of {precision}") as advance:
        result, _ = evaluate_model(engine, data, split, advance)
    engine.close()
    return result


def _table(before: Evaluation, after: Evaluation) -> Any:
    from rich.table import Table

    table = Table()
    for name in ("class", "AP FP32", "AP INT8", "AP50 FP32", "AP50 INT8"):
        table.add_column(name, justify="left" if name == "class" else "right")

    def row(name: str, *values: float | None) -> None:
        table.add_row(name, *("–" if value is None else f"{value:.3f}" for value in values))

    for old, new in zip(before.per_class, after.per_class, strict=True):
        row(old.label, old.ap, new.ap, old.voc_ap50, new.voc_ap50)
    row("mean", before.ap, after.ap, before.voc_map50, after.voc_map50)
    return table
