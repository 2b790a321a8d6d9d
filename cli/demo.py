"""``ssd-edge demo``: all steps, from rendered images to a running loop, in one command."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.cli.common import needs, print_json, progress, say
from ssd_edge.cli.proofs import keep

if TYPE_CHECKING:
    from ssd_edge.evaluation import Evaluation

IMAGES = 300
EPOCHS = 16
BENCHMARK_FRAMES = 100
MODEL, INPUT, BOX_SIZES = "ssdlite300_mobilenet_v2_tensorflow", "300x300", "mobilenet"
"""The sample model's network, with a smaller input than its own, and not with the boxes that suit blood cells."""
FROZEN_BLOCKS = 7
"""Number of first backbone blocks to freeze: halves the time of a training step."""


def demo(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Output folder.")] = Path("demo"),
    seconds: Annotated[float, typer.Option(min=1, help="Length of the recorded video in seconds.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Demonstrate all steps on rendered images: train, export, calibrate, build engines, measure, and run.

    Needs no camera, data or GPU, and takes a few minutes on two cores. The images show machine parts on a conveyor;
    the sample model of ssd-edge is fine-tuned on them. Afterwards, look at OUTPUT/run.mp4.

    Next: ssd-edge check-data DATA, and then ssd-edge train DATA
    """
    with needs("train,calibrate", "demo"):
        import torch  # noqa: F401 - asked for before the first minute is spent
    from ssd_edge.data.synthetic_dataset import write_dataset
    from ssd_edge.engines.bundle.build import build_bundle

    began = monotonic()
    say("1/6 render a conveyor with bolts, nuts, washers and gears")
    with progress("rendering") as bar:
        data = write_dataset(folder / "data", images=IMAGES, seed=0, progress=bar)

    say(f"2/6 train {MODEL} on them")
    checkpoint = _train(data, folder)

    say("3/6 export to ONNX")
    fp32 = _export(checkpoint, data, folder)

    say("4/6 calibrate to INT8")
    int8 = _calibrate(fp32, data, folder)

    say("5/6 build engines for this machine")
    engines = {name: folder / f"parts-{name}.engine" for name in ("fp32", "int8")}
    for name, onnx in (("fp32", fp32), ("int8", int8)):
        build_bundle(onnx, engines[name], "openvino")

    say("6/6 measure, and record a run on the rendered camera")
    ap = {name: _evaluate(bundle, data) for name, bundle in engines.items()}
    speed = _benchmark(engines)
    video = folder / "run.mp4"
    report = _record(engines["int8"], video, seconds)
    took = monotonic() - began
    if as_json:
        print_json(
            {
                "seconds": took,
                "ap50": {name: result.voc_map50 for name, result in ap.items()},
                "ap": {name: result.ap for name, result in ap.items()},
                "fps": speed,
                "run": report,
                "video": str(video),
            }
        )
        return
    _show(ap, speed)
    say(f"{took / 60:.1f} minutes. Look at {video}, and at {folder / 'data'}; then do the same with your images:")
    say("ssd-edge check-data DATA; ssd-edge train DATA")


def _train(data: Path, folder: Path) -> Path:
    from ssd_edge.data.readers import open_dataset
    from ssd_edge.samples import SAMPLE_CHECKPOINT
    from ssd_edge.training.recipe import Optimiser, Recipe
    from ssd_edge.training.run import TrainingRun
    from ssd_edge.training.train import train

    recipe = Recipe(
        model=MODEL,
        input=INPUT,
        box_sizes=BOX_SIZES,
        epochs=EPOCHS,
        optimiser=Optimiser(lr=0.03),
        frozen_blocks=FROZEN_BLOCKS,
        validate_every=max(1, EPOCHS // 2),
    )
    training, validation = open_dataset(data, "train"), open_dataset(data, "val")
    run = TrainingRun(training, validation, folder / "train", recipe, note=say)
    trained = train(run, start_from=SAMPLE_CHECKPOINT)
    say(f"    AP50 {_number(trained.ap50)} on {len(validation)} images of other scenes, {trained.seconds:.0f} s")
    return trained.checkpoint


def _export(checkpoint: Path, data: Path, folder: Path) -> Path:
    from ssd_edge.data.images import sample_images
    from ssd_edge.export import export_onnx
    from ssd_edge.proof import POOL
    from ssd_edge.training.checkpoints import load_checkpoint

    fp32 = folder / "parts.onnx"
    with progress("exporting"):
        export_onnx(load_checkpoint(checkpoint), fp32, checkpoint)
    keep(fp32, sample_images(data, POOL, "val"))
    return fp32


def _calibrate(fp32: Path, data: Path, folder: Path) -> Path:
    from ssd_edge.calibration.closest import calibrate_closest
    from ssd_edge.calibration.job import Job
    from ssd_edge.data.images import preprocessed, sample_images
    from ssd_edge.graph.heads import read_spec
    from ssd_edge.proof import POOL

    int8, spec = folder / "parts.int8.onnx", read_spec(fp32)
    with progress("calibrating") as bar:
        images = list(sample_images(data, 64))
        job = Job(fp32, lambda: preprocessed(images, spec), spec, num_images=len(images), progress=bar)
        calibrate_closest(job, int8)
    keep(int8, sample_images(data, POOL, "val"))
    return int8


def _evaluate(bundle: Path, data: Path) -> Evaluation:
    from ssd_edge.engines.bundle.load import load_bundle
    from ssd_edge.evaluation.model import evaluate_model

    with load_bundle(bundle) as engine, progress(f"AP of {engine.precision}") as bar:
        return evaluate_model(engine, data, "val", bar)[0]


def _benchmark(bundles: dict[str, Path]) -> dict[str, float]:
    from ssd_edge.engines.bundle.load import load_bundle
    from ssd_edge.loop.benchmark import benchmark
    from ssd_edge.stream.sources import open_source

    with ExitStack() as opened, progress("measuring") as bar:
        results = benchmark(
            {name: opened.enter_context(load_bundle(bundle)) for name, bundle in bundles.items()},
            open_source("synthetic", realtime=False),
            frames=BENCHMARK_FRAMES,
            progress=bar,
        )
    return {result.name: result.loop_fps for result in results}


def _record(bundle: Path, video: Path, seconds: float) -> dict[str, Any]:
    from ssd_edge.engines.bundle.load import load_bundle
    from ssd_edge.loop.run import run_loop
    from ssd_edge.outputs.video import Video
    from ssd_edge.stream.sources import open_source

    with load_bundle(bundle) as engine, progress("recording") as bar:
        report = run_loop(
            engine.detector(0.5),
            open_source("synthetic:1"),
            [Video(video, engine.spec.labels)],
            duration=seconds,
            on_report=lambda now: bar(round(now.seconds), round(seconds)),
        )
    return report.to_json()


def _show(ap: dict[str, Evaluation], speed: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in ("", "FP32", "INT8"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("AP", *(_number(result.ap) for result in ap.values()))
    table.add_row("AP50", *(_number(result.voc_map50) for result in ap.values()))
    table.add_row("FPS", *(f"{speed[name]:.0f}" for name in ap))
    Console().print(table)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
