"""``ssd-edge calibrate``: FP32 heads and images → INT8 heads, with the AP before and after."""

from __future__ import annotations

from contextlib import ExitStack, closing, nullcontext
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.calibrate_output import ap_table, report_page, stages, trials_table, what_corrections_brought
from ssd_edge.cli.common import how_fast, print_json, progress, say
from ssd_edge.cli.proofs import WithProof, frames_for, keep
from ssd_edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ssd_edge.detector import Heads, Image
    from ssd_edge.evaluation import Evaluation
    from ssd_edge.spec import ModelSpec

_IMAGES = "Images to calibrate with"
_FLOAT = "What stays in FP32"
_CORRECTIONS = "Corrections"
_CONTRACT = "Contract"
_ELSEWHERE = "Scales of elsewhere, and for elsewhere"


def calibrate(
    onnx: Annotated[Path, typer.Argument(help="FP32 heads of ssd-edge export or import-onnx.")],
    data: Annotated[
        Path | None,
        typer.Argument(
            help="A data set to measure AP on and, without --images, to calibrate with.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The INT8 file; NAME.int8.onnx beside it if not given.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="What to calibrate with: a folder of images, a data set or a video.", rich_help_panel=_IMAGES
        ),
    ] = None,
    num_images: Annotated[
        int, typer.Option(min=1, help="Images to calibrate with, a seeded choice.", rich_help_panel=_IMAGES)
    ] = 128,
    split: Annotated[
        str, typer.Option(help="Part of the data set to calibrate with, such as train.", rich_help_panel=_IMAGES)
    ] = "",
    eval_split: Annotated[str, typer.Option(help="Part to measure AP on, such as val.")] = "",
    method: Annotated[
        str,
        typer.Option(help="How scales are chosen: mse, percentile, entropy, min-max or moving-average."),
    ] = "mse",
    skip: Annotated[
        list[str] | None, typer.Option(help="A convolution to leave in FP32; may be repeated.", rich_help_panel=_FLOAT)
    ] = None,
    depthwise: Annotated[
        bool,
        typer.Option(
            "--depthwise", help="Quantise depthwise convolutions too; RTX engines grow by it.", rich_help_panel=_FLOAT
        ),
    ] = False,
    float_ends: Annotated[
        str,
        typer.Option(
            help="Which convolutions at the network's ends stay in FP32: none, first, last or both.",
            rich_help_panel=_FLOAT,
        ),
    ] = "none",
    least_products: Annotated[
        int,
        typer.Option(
            min=0,
            help="Leave convolutions in FP32 that sum fewer products to a value: 512 for RTX GPUs.",
            rich_help_panel=_FLOAT,
        ),
    ] = 0,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Points of AP that may be lost on DATA: searches for the way to INT8 that keeps this, with as few "
            "convolutions in FP32 as that takes. --method is chosen then.",
            show_default=False,
            rich_help_panel=_CONTRACT,
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0, help="Time for --max-drop; 0: no limit.", rich_help_panel=_CONTRACT)
    ] = 0,
    bias_correction: Annotated[
        bool,
        typer.Option(
            "--bias-correction/--no-bias-correction",
            help="Let biases make up for what rounding adds, where that brings the heads closer to FP32.",
            rich_help_panel=_CORRECTIONS,
        ),
    ] = True,
    learned_rounding: Annotated[
        bool,
        typer.Option(
            "--learned-rounding",
            help="Learn whether each weight is rounded up or down, too; takes minutes.",
            rich_help_panel=_CORRECTIONS,
        ),
    ] = False,
    equalisation: Annotated[
        bool,
        typer.Option(
            "--equalisation/--no-equalisation",
            help="Bring the ranges of channels closer first, where that brings the heads closer to FP32.",
            rich_help_panel=_CORRECTIONS,
        ),
    ] = True,
    scales: Annotated[
        Path | None,
        typer.Option(
            help="Take these scales, JSON or a TensorRT calibration cache, in place of images.",
            rich_help_panel=_ELSEWHERE,
        ),
    ] = None,
    save_scales: Annotated[
        Path | None,
        typer.Option(help="Write the scales as JSON; goes without equalisation.", rich_help_panel=_ELSEWHERE),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Write a calibration cache for TensorRT up to 10 and DLA, with every activation; goes without "
            "equalisation.",
            rich_help_panel=_ELSEWHERE,
        ),
    ] = None,
    cache_for: Annotated[
        str, typer.Option(help="Version of TensorRT that will read the cache.", rich_help_panel=_ELSEWHERE)
    ] = "10.3.0",
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write what was done and what it cost as a page, NAME.html, and NAME.json beside it; measures the "
            "sensitivity of each convolution for it.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of images.", rich_help_panel=_IMAGES)] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Make do with fewer than 32 images.", rich_help_panel=_IMAGES)
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not go on from an interrupted calibration.")] = False,
    no_eval: Annotated[bool, typer.Option("--no-eval", help="Do not measure AP; for images without labels.")] = False,
    proof: WithProof = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make an INT8 model: explicit Q/DQ in ONNX, which OpenVINO, ONNX Runtime, TensorRT and TensorRT-RTX all take.

    The AP before and after is that of the files, computed exactly, so that it is the same on every processor; beside
    it stands the AP of the engine that build-engine makes of the INT8 file for this CPU. Calibrate with
    images like those the camera will see; a hundred suffice. Interrupted, it goes on where it was when it is
    started again in the same way. --max-drop makes a contract of it: either AP drops by no more, or no file is written.

    Next: ssd-edge build-engine NAME.int8.onnx
    """
    try:
        from ssd_edge.calibration.calibrate import calibrate_with, every_scale
        from ssd_edge.calibration.choice import LEAST_IMAGES, choose_images
        from ssd_edge.calibration.closest import calibrate_closest
        from ssd_edge.calibration.contract import calibrate_within
        from ssd_edge.calibration.job import Job
        from ssd_edge.calibration.network.policy import Policy
        from ssd_edge.calibration.scales.interchange import cache_header, read_scales, write_cache, write_scales
        from ssd_edge.calibration.scales.state import StateFile
    except ModuleNotFoundError as error:
        from ssd_edge.errors import MissingDependencyError

        raise MissingDependencyError(error.name or "onnx", "calibrate", "calibrate") from None
    from rich.console import Console

    from ssd_edge.data.images import preprocessed, validation_images
    from ssd_edge.engines.cpu.this_machine import engine_of_this_machine
    from ssd_edge.graph.heads import read_spec
    from ssd_edge.proof import POOL
    from ssd_edge.speed import images_per_second

    source = images or data
    if scales is not None and images is not None:
        raise typer.BadParameter("--scales and --images exclude each other: scales come from one of them")
    if report is not None and (scales is not None or report.suffix != ".html"):
        raise typer.BadParameter("--report NAME.html tells of images: it takes no --scales, and a name in .html")
    if data is None and not no_eval:
        raise typer.BadParameter("AP is measured on DATA: give it, or add --no-eval")
    if max_drop is not None and (no_eval or scales is not None):
        raise typer.BadParameter("--max-drop needs DATA to measure AP on, and chooses scales itself")
    deadline = monotonic() + 60 * minutes if minutes else float("inf")
    target = output or onnx.with_suffix(".int8.onnx")
    policy = Policy(tuple(skip or ()), depthwise, float_ends, least_products)
    # Scales for elsewhere are read beside the FP32 heads as they are, whose channels nobody has equalised.
    equalisation = equalisation and cache is None and save_scales is None
    spec = read_spec(onnx)
    header = cache_header(cache_for)
    if data is not None and not no_eval:
        _require_labels(data, eval_split, spec)
    before = after = here = search = corrections = None
    frames: Iterable[Image] | None
    if scales is not None:
        every = read_scales(scales)
        result = calibrate_with(onnx, target, every, policy=policy)
        frames = validation_images(data, POOL) if data is not None else None
        origin = f"scales of {scales}"
    elif source is not None:
        least = 1 if force else LEAST_IMAGES
        chosen = choose_images(source, num_images, split=split, seed=seed, labels=spec.labels, least=least)
        if chosen.missing:
            more = f" and {len(chosen.missing) - 5} classes more" if len(chosen.missing) > 5 else ""
            shown = ", ".join(chosen.missing[:5]) + more
            say(f"no image to calibrate with shows {shown}: take more, or others", "yellow")
        state = StateFile(target.with_name(f"{target.name}.partial"), chosen.key)
        if fresh:
            state.remove()
        unreadable: list[str] = []
        if max_drop is not None and data is not None:
            before = _ap(onnx, spec, "FP32", data, eval_split)
        with ExitStack() as bars:
            tell = stages(bars)
            job = Job(
                onnx,
                lambda: preprocessed((image for _, image in chosen.read(unreadable.append)), spec),
                spec,
                policy,
                equalisation,
                bias_correction,
                learned_rounding,
                least,
                state,
                progress=lambda done: tell("calibrating", done, chosen.number),
                tell=tell,
            )
            if before is not None and max_drop is not None and data is not None:
                made, search = calibrate_within(
                    job,
                    target,
                    _points(before),
                    lambda path: _points(_ap(path, spec, "INT8", data, eval_split, quiet=True)),
                    max_drop,
                    deadline=deadline,
                )
                method = search.best.recipe.method
            else:
                made, corrections = calibrate_closest(job, target, method=method, everything=cache is not None)
        result = made.result
        for sentence in dict.fromkeys(unreadable):  # read more than once by a search
            say(f"left out: {sentence}")
        if state.stale:
            say("an interrupted calibration was of another model, other images or options: begun anew")
        if state.resumed:
            say(f"went on where an interrupted calibration stopped, after {state.resumed} images")
        every = every_scale(result, method)
        origin = f"{method} over {result.num_images} images"
        step = max(1, chosen.number // POOL)
        frames = (image for _, image in islice(chosen.read(lambda _: None), 0, None, step))
    else:
        raise typer.BadParameter("nothing to calibrate with: give DATA, --images or --scales")
    keep(target, frames_for(target, onnx, frames, proof))
    if save_scales is not None:
        write_scales(save_scales, result.scales)
    if cache is not None:
        write_cache(cache, every, header)

    if data is not None and not no_eval:
        before = before or _ap(onnx, spec, "FP32", data, eval_split)
        after = _ap(target, spec, "INT8", data, eval_split)
    with engine_of_this_machine(onnx, spec) as fp32, engine_of_this_machine(target, spec) as int8:
        if data is not None and not no_eval:
            here = _ap_of(int8, "AP of the engine of this machine", data, eval_split)
        with progress("speed of FP32 and INT8"):
            fps = images_per_second([fp32, int8])
    speed = fps[0], fps[1]
    if report is not None:
        report_page(report, made, chosen, before, after, here, speed, corrections, search, seed)
    if as_json:
        print_json(
            {
                "onnx": str(target),
                "method": "given" if scales is not None else method,
                "images": result.num_images,
                "convolutions": result.num_convolutions,
                "quantised": result.num_quantised,
                "fp32": before.to_json() if before else None,
                "int8": after.to_json() if after else None,
                "int8_engine": here.to_json() if here else None,
                "corrections": corrections.to_json() if corrections else None,
                "contract": search.to_json() if search else None,
                "speed": {"fp32": speed[0], "int8": speed[1]},
            }
        )
        return
    say(f"{target}: {result.num_quantised} of {result.num_convolutions} convolutions in INT8, {origin}")
    if corrections:
        say(what_corrections_brought(corrections))
    if before and after and here:
        Console().print(ap_table(before, after, here))
    if search:
        Console().print(trials_table(search))
        say(search.reason)
    if report:
        say(f"{report}: the report, and {report.with_suffix('.json').name} beside it")
    say(*how_fast(*speed))
    say(f"next: ssd-edge build-engine {target}")


def _require_labels(data: Path, split: str, spec: ModelSpec) -> None:
    """Found out now, not after the calibration."""
    from ssd_edge.data.readers import open_dataset

    try:
        open_dataset(data, split, spec.labels)
    except DataError as error:
        raise DataError(f"{error}; for images without labels add --no-eval") from None


def _ap(onnx: Path, spec: ModelSpec, precision: str, data: Path, split: str, *, quiet: bool = False) -> Evaluation:
    """Of the file, computed exactly."""
    from ssd_edge.engines.cpu.exact import open_exact

    with closing(open_exact(onnx, spec)) as exact:
        return _ap_of(exact, "" if quiet else f"AP of {precision}", data, split)


def _ap_of(heads: Heads, shown: str, data: Path, split: str) -> Evaluation:
    from ssd_edge.evaluation.model import evaluate_model

    with progress(shown) if shown else nullcontext() as advance:
        return evaluate_model(heads, data, split, advance)[0]


def _points(result: Evaluation) -> float:
    if result.ap is None:
        raise DataError("the images to measure AP on show no object that the model knows: take others for --max-drop")
    return 100 * result.ap
