"""``ssd-edge calibrate``: FP32 heads and images → INT8 heads, with the AP before and after."""

from __future__ import annotations

from math import inf
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.calibration.scales.methods import DEFAULT_METHOD, METHODS
from ssd_edge.choices import help_of
from ssd_edge.cli.calibrate_output import show, write_report_page
from ssd_edge.cli.common import needs, print_json, progress, say
from ssd_edge.cli.measuring import measures_on
from ssd_edge.cli.proofs import WithProof, keep_proof_in

if TYPE_CHECKING:
    from ssd_edge.calibration.choice import ChosenImages
    from ssd_edge.calibration.job import Job
    from ssd_edge.calibration.outcome import Outcome
    from ssd_edge.calibration.scales.state import StateFile
    from ssd_edge.data.report import Report
    from ssd_edge.spec import ModelSpec

_IMAGES = "Calibration images"
_FLOAT = "Convolutions left in FP32"
_CORRECTIONS = "Corrections"
_CONTRACT = "Accuracy limit"
_ELSEWHERE = "Scales of and for other tools"


def calibrate(
    onnx: Annotated[Path, typer.Argument(help="FP32 heads from ssd-edge export or import-onnx.")],
    data: Annotated[
        Path | None,
        typer.Argument(
            help="Data set to measure AP on, and to calibrate with unless --images is given.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="INT8 file to write; by default NAME.int8.onnx beside ONNX.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of images, data set or video to calibrate with.", rich_help_panel=_IMAGES),
    ] = None,
    num_images: Annotated[
        int, typer.Option(min=1, help="Number of calibration images.", rich_help_panel=_IMAGES)
    ] = 128,
    split: Annotated[
        str,
        typer.Option(
            help="Split to calibrate with; 'train' if there is one, else all but those of val and test and those "
            "that training held out.",
            rich_help_panel=_IMAGES,
        ),
    ] = "",
    eval_split: Annotated[
        str,
        typer.Option(
            help="Split to measure AP on; 'held-out' if the model's training held images out, else 'val' if there is "
            "one, else all images."
        ),
    ] = "",
    method: Annotated[
        str,
        typer.Option(help=f"Calibration method for activation scales: {help_of(METHODS, DEFAULT_METHOD)}."),
    ] = DEFAULT_METHOD,
    skip: Annotated[
        list[str] | None,
        typer.Option(help="Name of a convolution to leave in FP32; may be repeated.", rich_help_panel=_FLOAT),
    ] = None,
    depthwise: Annotated[
        bool,
        typer.Option(
            "--depthwise", help="Quantise depthwise convolutions too; makes RTX engines larger.", rich_help_panel=_FLOAT
        ),
    ] = False,
    float_ends: Annotated[
        str,
        typer.Option(
            help="Convolutions to leave in FP32 at the network's ends: none, first, last or both.",
            rich_help_panel=_FLOAT,
        ),
    ] = "none",
    least_products: Annotated[
        int,
        typer.Option(
            min=0,
            help="Leave small convolutions in FP32: those that sum fewer products per output value; 512 for RTX GPUs.",
            rich_help_panel=_FLOAT,
        ),
    ] = 0,
    max_drop: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Maximum loss of AP on DATA, in points. Searches for settings within it that leave as few "
            "convolutions in FP32 as possible; also chooses --method.",
            show_default=False,
            rich_help_panel=_CONTRACT,
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(min=0, help="Time limit for --max-drop in minutes; 0: no limit.", rich_help_panel=_CONTRACT)
    ] = 0,
    bias_correction: Annotated[
        bool,
        typer.Option(
            "--bias-correction/--no-bias-correction",
            help="Correct biases for the mean rounding error, if the heads get closer to FP32.",
            rich_help_panel=_CORRECTIONS,
        ),
    ] = True,
    learned_rounding: Annotated[
        bool,
        typer.Option(
            "--learned-rounding",
            help="Learn whether to round each weight up or down (AdaRound); takes minutes.",
            rich_help_panel=_CORRECTIONS,
        ),
    ] = False,
    equalisation: Annotated[
        bool,
        typer.Option(
            "--equalisation/--no-equalisation",
            help="Equalise channel ranges across layers, if the heads get closer to FP32.",
            rich_help_panel=_CORRECTIONS,
        ),
    ] = True,
    scales: Annotated[
        Path | None,
        typer.Option(
            help="Use the scales in this JSON file or TensorRT calibration cache, without images.",
            rich_help_panel=_ELSEWHERE,
        ),
    ] = None,
    save_scales: Annotated[
        Path | None,
        typer.Option(help="Write the scales as JSON; turns equalisation off.", rich_help_panel=_ELSEWHERE),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Write a calibration cache of all activations, for TensorRT up to 10 and for DLA; turns equalisation "
            "off.",
            rich_help_panel=_ELSEWHERE,
        ),
    ] = None,
    cache_for: Annotated[
        str, typer.Option(help="TensorRT version that will read the cache.", rich_help_panel=_ELSEWHERE)
    ] = "10.3.0",
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write a report, NAME.html and NAME.json: settings, accuracy, speed, and the sensitivity of each "
            "convolution, which takes time to measure.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed for choosing the images.", rich_help_panel=_IMAGES)] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Accept fewer than 32 images.", rich_help_panel=_IMAGES)
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew: do not resume an interrupted calibration.")
    ] = False,
    no_eval: Annotated[bool, typer.Option("--no-eval", help="Do not measure AP; for images without labels.")] = False,
    proof: WithProof = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Quantise a model to INT8: ONNX with explicit Q/DQ for OpenVINO, ONNX Runtime, TensorRT and TensorRT-RTX.

    Calibrate with images like those that the camera will see; a hundred suffice. AP before and after is measured by
    exact computation of the two files, so it is the same on every processor; the AP of the INT8 engine on this CPU is
    shown beside it. The same command resumes an interrupted calibration. With --max-drop, either AP drops by no more
    than that, or no file is written.

    Next: ssd-edge build-engine NAME.int8.onnx
    """
    with needs("calibrate", "calibrate"):
        from ssd_edge.calibration.choice import LEAST_IMAGES, NO_IMAGES
        from ssd_edge.calibration.job import Job
        from ssd_edge.calibration.network.policy import Policy
        from ssd_edge.calibration.scales.interchange import cache_header
    from ssd_edge.data.images import validation_images
    from ssd_edge.graph.heads import read_spec
    from ssd_edge.proof import POOL

    _refuse_contradictions(data, images, scales, report, max_drop, no_eval)
    deadline = monotonic() + 60 * minutes if minutes else inf
    target = output or onnx.with_suffix(".int8.onnx")
    spec, header = read_spec(onnx), cache_header(cache_for)
    reports: list[Report] = []
    measures = measures_on(None if no_eval else data, eval_split, spec, reports)
    least, unreadable = 1 if force else LEAST_IMAGES, dict[str, None]()
    chosen, state, frames = NO_IMAGES, None, validation_images(data, POOL) if data else None
    if scales is None:
        chosen = _choose(images or data, num_images, split, seed, spec, least)
        state, frames = _state_beside(target, chosen, fresh), chosen.some(POOL)
    with progress("calibrating") as bar:
        job = Job(
            onnx,
            lambda: chosen.inputs(spec, lambda sentence: unreadable.setdefault(sentence)),
            spec,
            Policy(tuple(skip or ()), depthwise, float_ends, least_products),
            # Other programs use saved scales with the FP32 heads as they are, which nobody has equalised.
            equalisation=equalisation and cache is None and save_scales is None,
            bias_correction=bias_correction,
            learned_rounding=learned_rounding,
            num_images=chosen.number,
            least=least,
            state=state,
            measures=measures,
            on_written=keep_proof_in(onnx, frames, proof),
            progress=bar,
        )
        outcome = _run(job, target, method, scales, max_drop, deadline, everything=cache is not None)
    _say_what_happened(list(unreadable), state)
    _write_for_elsewhere(outcome, save_scales, cache, header)
    if report is not None:
        write_report_page(report, outcome, chosen, seed)
    if as_json:
        print_json({**outcome.to_json(), **_what_it_used(chosen, reports)})
    else:
        show(outcome, f"scales of {scales}" if scales else "", report, chosen.origin, reports)


def _run(
    job: Job, target: Path, method: str, scales: Path | None, max_drop: float | None, deadline: float, everything: bool
) -> Outcome:
    """Calibrate in the way that the options ask for: with given scales, within a maximum loss, or one method."""
    from ssd_edge.calibration.closest import calibrate_closest
    from ssd_edge.calibration.contract import calibrate_within
    from ssd_edge.calibration.given import calibrate_with_scales
    from ssd_edge.calibration.scales.interchange import read_scales

    if scales is not None:
        return calibrate_with_scales(job, target, read_scales(scales))
    if max_drop is not None:
        return calibrate_within(job, target, max_drop, deadline=deadline)
    return calibrate_closest(job, target, method=method, everything=everything)


def _what_it_used(chosen: ChosenImages, reports: list[Report]) -> dict[str, Any]:
    """Name the images that were calibrated with, and those that AP was measured on, for ``--json``."""
    from ssd_edge.data.report import measured_facts

    return {"calibrated_with": chosen.origin or None, "data": measured_facts(reports[0]) if reports else None}


def _refuse_contradictions(
    data: Path | None,
    images: Path | None,
    scales: Path | None,
    report: Path | None,
    max_drop: float | None,
    no_eval: bool,
) -> None:
    """Raise BadParameter if options contradict each other, or if AP is to be measured on nothing."""
    if scales is not None and images is not None:
        raise typer.BadParameter("--scales and --images exclude each other: scales come from one of them")
    if report is not None and (scales is not None or report.suffix != ".html"):
        raise typer.BadParameter("--report NAME.html tells of images: it takes no --scales, and a name in .html")
    if data is None and not no_eval:
        raise typer.BadParameter("AP is measured on DATA: give it, or add --no-eval")
    if max_drop is not None and (no_eval or scales is not None):
        raise typer.BadParameter("--max-drop needs DATA to measure AP on, and chooses scales itself")


def _choose(source: Path | None, number: int, split: str, seed: int, spec: ModelSpec, least: int) -> ChosenImages:
    """Choose the calibration images, and warn about classes that none of them shows."""
    from ssd_edge.calibration.choice import choose_images
    from ssd_edge.data.held_out import held_out_of

    if source is None:
        raise typer.BadParameter("nothing to calibrate with: give DATA, --images or --scales")
    held_out = held_out_of(spec.provenance)
    chosen = choose_images(
        source,
        number,
        split=split,
        seed=seed,
        labels=spec.labels,
        least=least,
        held_out=held_out.digests if held_out else (),
    )
    if chosen.missing:
        more = f" and {len(chosen.missing) - 5} classes more" if len(chosen.missing) > 5 else ""
        shown = ", ".join(chosen.missing[:5]) + more
        say(f"no image to calibrate with shows {shown}: take more, or others", "yellow")
    return chosen


def _state_beside(target: Path, chosen: ChosenImages, fresh: bool) -> StateFile:
    """Return the state of an interrupted calibration with these images, removed if a fresh start is asked for."""
    from ssd_edge.calibration.scales.state import StateFile

    state = StateFile(target.with_name(f"{target.name}.partial"), chosen.key)
    if fresh:
        state.remove()
    return state


def _write_for_elsewhere(outcome: Outcome, scales: Path | None, cache: Path | None, header: str) -> None:
    """Write scales for other programs, where they are asked for."""
    from ssd_edge.calibration.scales.interchange import write_cache, write_scales

    if scales is not None:
        write_scales(scales, outcome.file.scales)
    if cache is not None:
        write_cache(cache, outcome.every_scale(), header)


def _say_what_happened(unreadable: list[str], state: StateFile | None) -> None:
    for sentence in unreadable:
        say(f"left out: {sentence}")
    if state is not None and state.stale:
        say("an interrupted calibration was of another model, other images or options: begun anew")
    if state is not None and state.resumed:
        say(f"went on where an interrupted calibration stopped, after {state.resumed} images")
