"""``ssd-edge benchmark``: FPS and latency of engines on this machine."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssd_edge.cli.camera_options import Capture, Fps, PixelFormat, Size
from ssd_edge.cli.common import cell, print_json, progress, say
from ssd_edge.stream.camera_mode import parsed_mode
from ssd_edge.stream.ways import DEFAULT_WAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from ssd_edge.loop.benchmark import EngineTimes


def benchmark(
    models: Annotated[
        list[Path], typer.Argument(help="Models to compare: NAME.engine/, NAME.onnx or NAME.pt; one or more.")
    ],
    camera: Annotated[
        str,
        typer.Option(
            "--camera",
            "-c",
            help="Video file, folder of images, camera number or 'synthetic' for a rendered scene: gives the frames.",
        ),
    ] = "synthetic",
    size: Size = None,
    fps: Fps = None,
    pixel_format: PixelFormat = None,
    capture: Capture = DEFAULT_WAY,
    frames: Annotated[int, typer.Option(min=10, help="Number of frames per measurement.")] = 200,
    warmup: Annotated[int, typer.Option(min=0, help="Number of warm-up frames before each measurement.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds; the median over them is shown.")] = 3,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Score threshold: lower detections are not decoded.")
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure and compare the FPS and latency of engines, stage by stage and end to end.

    Engines take turns, so their figures are comparable even on a busy machine. The source's first 64 frames are
    replayed from memory. Stages and latency are measured on one frame at a time; FPS is that of the whole loop of
    ssd-edge run.

    Next: ssd-edge run NAME.engine --camera 0
    """
    from rich.console import Console

    from ssd_edge.engines.opening import open_model
    from ssd_edge.loop.benchmark import benchmark as measure
    from ssd_edge.machine.heat import HeatRecorder
    from ssd_edge.machine.summary import summary
    from ssd_edge.stream.sources import check_source, open_source

    mode = parsed_mode(size, fps, pixel_format)
    check_source(camera, mode, capture)
    machine = summary()
    with ExitStack() as opened, progress("measuring") as bar:
        engines = {str(path): opened.enter_context(open_model(path, say)) for path in models}
        source = open_source(camera, realtime=False, mode=mode, way=capture)
        recorder = opened.enter_context(HeatRecorder())
        results = measure(
            engines,
            source,
            frames=frames,
            warmup=warmup,
            rounds=rounds,
            min_score=min_score,
            progress=bar,
        )
    heat = recorder.heat()
    if source.lost:
        say(f"{source.lost} damaged frames of {source.name} are left out")
    if as_json:
        engines_json = [result.to_json() for result in results]
        print_json({"machine": machine, "engines": engines_json, "heat": heat.to_json()})
        return
    console = Console()
    console.print(_table(results))
    for result in results:
        if result.graph not in {None, "yes"}:
            console.print(cell(f"{Path(result.name).name}: CUDA graph: {result.graph}"), soft_wrap=True)
    console.print(_machine_line(machine), soft_wrap=True, highlight=False)
    if temperature := heat.sentence():
        console.print(cell(temperature), soft_wrap=True, highlight=False)
    if limits := heat.warning():
        say(f"the figures are those of a machine that was slowed down: {limits}", "yellow")


def _table(results: Sequence[EngineTimes]) -> Table:
    from rich.table import Table

    table = Table(title="milliseconds as p50 / p90 / p99", title_justify="left")
    table.add_column("")
    for result in results:
        heading = cell(Path(result.name).name).append(f"\n{result.backend} {result.precision}")
        table.add_column(heading, justify="right")
    table.add_row("FPS of the loop", *(f"{result.loop_fps:.1f}" for result in results), style="bold")
    table.add_row("FPS of the engine alone", *(_number(result.engine_fps, 1) for result in results))
    table.add_row("share that the loop keeps", *(_number(result.efficiency, 2) for result in results))
    for stage in results[0].stages:
        table.add_row(stage, *(_ms(result.stages[stage]) for result in results))
    table.add_row("end to end", *(_ms(result.end_to_end) for result in results), style="bold")
    if any(result.graph for result in results):
        table.add_row("CUDA graph", *((result.graph or "–").partition(",")[0] for result in results))
    return table


def _number(value: float | None, digits: int) -> str:
    """Format a number; a dash stands for one that could not be measured."""
    return "–" if value is None else f"{value:.{digits}f}"


def _ms(times: Sequence[float]) -> str:
    return " / ".join(f"{1000 * value:.1f}" for value in times)


def _machine_line(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['threads']} threads, load {machine['load']}; "
        f"Python {machine['python']}, {versions}; {machine['system']}"
    )
