"""``ssd-edge run``: run an engine on a camera, a video, a folder or a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ssd_edge.cli.camera_options import Capture, Fps, MaxAge, PixelFormat, Size, seconds_of
from ssd_edge.cli.common import DEFAULT_SCORE, print_json, say, stderr
from ssd_edge.outputs.catalogue import SINKS, open_sink
from ssd_edge.stream.camera_mode import parsed_mode
from ssd_edge.stream.ways import DEFAULT_WAY

if TYPE_CHECKING:
    from rich.table import Table

    from ssd_edge.loop.shown import Shown
    from ssd_edge.loop.stats import LoopReport
    from ssd_edge.outputs.sink import Sink
    from ssd_edge.spec import ModelSpec
    from ssd_edge.stream.durations import Percentiles
    from ssd_edge.stream.frames import Source
    from ssd_edge.tracking.watch import Watch
    from ssd_edge.tracking.watch_file import WatchReader


def run(
    model: Annotated[Path, typer.Argument(help="Engine NAME.engine/, or NAME.onnx, NAME.pt or NAME.ckpt.")],
    camera: Annotated[
        str,
        typer.Option(
            "--camera",
            "-c",
            help="Camera number, video file, folder of images, rtsp:// address, or 'synthetic' for a rendered scene.",
        ),
    ] = "0",
    size: Size = None,
    fps: Fps = None,
    pixel_format: PixelFormat = None,
    capture: Capture = DEFAULT_WAY,
    max_age: MaxAge = None,
    save_video: Annotated[Path | None, typer.Option(help=SINKS["video"].about)] = None,
    save_images: Annotated[Path | None, typer.Option(help=SINKS["images"].about)] = None,
    save_json: Annotated[Path | None, typer.Option(help=SINKS["json"].about)] = None,
    window: Annotated[
        bool | None,
        typer.Option(
            "--window/--no-window",
            help=f"{SINKS['window'].about} The default if there is a display and no --save option.",
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            show_default=False,
            help="Score threshold for all classes. By default each class has the one that eval --choose-thresholds "
            "gave it, or 0.5.",
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml",
            help="Follow objects by ids, and count them in zones and over lines: docs/tracking.md has the file's form.",
        ),
    ] = None,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Process every frame of a file: drop none, however long it takes.")
    ] = False,
    frames: Annotated[int | None, typer.Option(min=1, help="Stop after this number of frames.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after this number of seconds.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check the engine first, as ssd-edge verify does.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Detect objects live on a camera, a stream, a video or images.

    Always processes the newest frame: if the engine is slower than the camera, frames are dropped and counted, so
    results never lag behind. A file is played at its own speed in the same way; --every-frame processes all of its
    frames instead. Ctrl-C ends the run and closes all files.

    Next: ssd-edge benchmark NAME.engine, to see where the time goes
    """
    if as_json and save_json == Path("-"):
        raise typer.BadParameter("--json and --save-json - both print on stdout: write one of them to a file")
    from rich.live import Live

    from ssd_edge.engines.opening import open_model, proof_for
    from ssd_edge.engines.proof.prove import prove
    from ssd_edge.loop.run import run_loop
    from ssd_edge.outputs.lettering import names_not_shown
    from ssd_edge.stream.sources import check_source, open_source
    from ssd_edge.tracking.watch_file import WatchReader

    mode, oldest = parsed_mode(size, fps, pixel_format), seconds_of("--max-age", max_age)
    check_source(camera, mode, capture)
    reader = None if watch is None else WatchReader(watch)
    with open_model(model, say) as engine:
        if verify:
            say(f"verified: {prove(engine, proof_for(model, engine)).sentence()}")
        chosen = _chosen(engine.spec, min_score, reader)
        detector = engine.detector(chosen.lowest_score)
        source = open_source(camera, mode=mode, way=capture, reader=detector)
        targets = _targets({"video": save_video, "images": save_images, "json": save_json}, window)
        source.listen(say)
        sinks = [open_sink(name, target, engine.spec.labels, source.fps) for name, target in targets.items()]
        if targets.keys() - {"json"} and (not_shown := names_not_shown(engine.spec.labels)):
            say(not_shown, "yellow")
        way = f" by {source.way}" if source.way else ""
        say(f"{model}: {engine.backend} {engine.precision}, on {source.name}{way}; Ctrl-C ends it")
        with Live(console=stderr(), transient=True, refresh_per_second=2) as live:
            report = run_loop(
                detector,
                source,
                sinks,
                every_frame=every_frame,
                max_frames=frames,
                duration=seconds,
                shown=chosen.shown,
                max_age=oldest,
                on_report=lambda now: live.update(report_table(now)),
            )
    if as_json:
        counted = {"objects": chosen.watch.objects, "counts": chosen.watch.counts} if chosen.watch else {}
        about = {"model": str(model), "backend": engine.backend, "precision": engine.precision}
        print_json({**about, **report.to_json(), **counted})
        return
    stderr().print(report_table(report))
    for sentence in chosen.watch.sentences() if chosen.watch else ():
        say(sentence)
    _say_end(source, sinks)


def _say_end(source: Source, sinks: Sequence[Sink]) -> None:
    if source.trouble:
        say(f"frames were left out: {source.trouble}", "yellow")
    for sink in sinks:
        if sink.path is not None:
            say(f"written: {sink.path}")


def _targets(paths: Mapping[str, Path | None], window: bool | None) -> dict[str, str]:
    """Return what each sink writes, by name; the window, if it is wanted or nothing else is and there is a display."""
    from ssd_edge.outputs.window import has_display

    targets = {name: str(path) for name, path in paths.items() if path}
    return {**targets, "window": ""} if window or (window is None and not targets and has_display()) else targets


class _Chosen(NamedTuple):
    """What is shown of the detections, the lowest score that this needs, and what is watched, if anything."""

    shown: Shown
    lowest_score: float
    watch: Watch | None = None


def _chosen(spec: ModelSpec, min_score: float | None, reader: WatchReader | None) -> _Chosen:
    import numpy as np

    from ssd_edge.loop.shown import above, watched
    from ssd_edge.tracking.watch import Watch

    thresholds = np.asarray(spec.operating_score_of_each(DEFAULT_SCORE), np.float32)
    if min_score is not None:
        thresholds[:] = min_score
    if reader is None:
        return _Chosen(above(thresholds), float(thresholds.min()))
    watch = Watch(reader.plan(spec.labels, thresholds.tolist()), spec.labels)
    return _Chosen(watched(watch), watch.lowest_score, watch)


def report_table(report: LoopReport) -> Table:
    """Make a table of a loop's numbers, while it runs or at its end."""
    from rich.table import Table

    table = Table(box=None, caption=_headline(report), caption_justify="left", caption_style="bold", min_width=78)
    for name in ("milliseconds", "p50", "p90", "p99"):
        table.add_column(name, justify="left" if name == "milliseconds" else "right")
    rows: dict[str, Percentiles] = {
        **report.stages,
        "latency (capture to result)": report.latency,
        "frame age (capture to shown)": report.age,
    }
    for name, times in rows.items():
        table.add_row(name, *(f"{1000 * value:.1f}" for value in times))
    return table


def _headline(report: LoopReport) -> str:
    parts = [
        f"{report.fps:.1f} FPS",
        f"{report.processed} frames of {report.captured}, {report.dropped} dropped",
        f"{report.detections} detections",
    ]
    if report.frames_cut:
        parts.append(f"top-k cut candidates in {report.frames_cut} frames")
    if report.lost:
        parts.append(f"{report.lost} lost: damaged or cut off in the recording")
    if report.skipped:
        parts.append(f"{report.skipped} unreadable")
    if report.reconnects:
        parts.append(f"{report.reconnects} reconnects")
    if report.too_old:
        parts.append(f"{report.too_old} too old")
    if report.health is not None and report.health.outage_count:
        parts.append(
            f"{report.health.outage_count} outages of {report.health.outage_seconds:.1f} s, "
            f"about {report.health.frames_missed} frames missed"
        )
    if report.frozen:
        parts.append(f"{report.frozen} frozen")
    if report.black:
        parts.append(f"{report.black} black")
    if report.interrupted:
        parts.append("interrupted")
    return ", ".join(parts)
