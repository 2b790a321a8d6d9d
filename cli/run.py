"""``ssd-edge run``: run an engine on a camera, a video, a folder or a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssd_edge.cli.camera_options import (
    Buffer,
    Capture,
    Degrade,
    DegradeOption,
    Fallback,
    Fps,
    MaxAge,
    PixelFormat,
    Size,
    seconds_of,
)
from ssd_edge.cli.collect_options import (
    CollectAgainst,
    CollectFolder,
    CollectFrames,
    CollectQuiet,
    CollectShare,
    CollectSize,
    read_collecting,
)
from ssd_edge.cli.common import print_json, stderr
from ssd_edge.cli.network_output_options import (
    Device,
    Mqtt,
    MqttRate,
    NetworkOutputs,
    RtspOut,
    Webhook,
    WebhookPicture,
    WebhookRate,
)
from ssd_edge.cli.output_options import (
    ClipAfter,
    ClipBefore,
    DiskFloor,
    DiskQuota,
    RotateEvery,
    RotateSize,
    SaveClips,
    SaveImages,
    SaveJson,
    SaveVideo,
    ShowWindow,
    read_rules,
)
from ssd_edge.cli.page_options import PageAddress, TokenFile, read_page
from ssd_edge.cli.recording import Record, check_record, recordings
from ssd_edge.cli.relieving import Relieving
from ssd_edge.cli.run_cameras import Wanted, check_paths, read_cameras, run_cameras
from ssd_edge.cli.run_service import example, live_on, logging_errors, make_log, run_service
from ssd_edge.cli.service_options import CheckConfig, Config, ExampleConfig, LogForm, Wait
from ssd_edge.machine.allocator import share_arenas
from ssd_edge.stream.buffers import EVERY, NEWEST, parse_buffer
from ssd_edge.stream.camera_mode import parsed_mode
from ssd_edge.stream.ways import DEFAULT_WAY


@logging_errors
def run(
    context: typer.Context,
    model: Annotated[
        Path | None, typer.Argument(help="Engine NAME.engine/, or NAME.onnx, NAME.pt or NAME.ckpt.")
    ] = None,
    camera: Annotated[
        list[str] | None,
        typer.Option(
            "--camera",
            "-c",
            metavar="NAME=ADDRESS",
            show_default="0",
            help="Camera number, video file, folder of images, rtsp:// address, or 'synthetic' for a rendered scene. "
            "Repeat it for several cameras; a name is optional.",
        ),
    ] = None,
    size: Size = None,
    fps: Fps = None,
    pixel_format: PixelFormat = None,
    capture: Capture = DEFAULT_WAY,
    max_age: MaxAge = None,
    degrade: DegradeOption = Degrade.SKIP,
    fallback: Fallback = None,
    save_video: SaveVideo = None,
    save_images: SaveImages = None,
    save_json: SaveJson = None,
    save_clips: SaveClips = None,
    record: Record = None,
    clip_before: ClipBefore = "5s",
    clip_after: ClipAfter = "5s",
    rotate_size: RotateSize = None,
    rotate_every: RotateEvery = None,
    disk_quota: DiskQuota = None,
    disk_floor: DiskFloor = None,
    collect: CollectFolder = None,
    collect_against: CollectAgainst = None,
    collect_frames: CollectFrames = 1000,
    collect_size: CollectSize = "1GB",
    collect_share: CollectShare = 5.0,
    collect_quiet: CollectQuiet = "10m",
    mqtt: Mqtt = None,
    mqtt_rate: MqttRate = 1.0,
    webhook: Webhook = None,
    webhook_rate: WebhookRate = 0.0,
    webhook_picture: WebhookPicture = False,
    rtsp_out: RtspOut = None,
    device: Device = None,
    window: ShowWindow = None,
    page: PageAddress = None,
    page_token_file: TokenFile = None,
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
    buffer: Buffer = NEWEST.name,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="Process every frame of a file; short for --buffer every.")
    ] = False,
    frames: Annotated[int | None, typer.Option(min=1, help="Stop after this number of frames.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after this number of seconds.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check the engine first, as ssd-edge verify does.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    log_form: LogForm = "text",
    config: Config = None,
    check_config: CheckConfig = False,
    wait: Wait = False,
    example_config: ExampleConfig = False,
) -> None:
    """Detect objects live on a camera, a stream, a video or images.

    Always processes the newest frame: if the engine is slower than the camera, frames are dropped and counted, so
    results never lag behind. A file is played at its own speed in the same way; --buffer chooses otherwise. Several
    cameras share the engine in turns. Ctrl-C or SIGTERM ends the run and closes all files.

    --config FILE.yaml runs several cameras with their outputs, for months: ssd-edge service keeps it running.

    Next: ssd-edge benchmark NAME.engine, to see where the time goes
    """
    if example_config:
        example()
        return
    share_arenas()
    if config is not None or check_config or wait:
        run_service(context, check=check_config, wait=wait, as_json=as_json)
        return
    if model is None:
        raise typer.BadParameter("name a model, such as NAME.engine, or --config FILE.yaml")
    if as_json and save_json == Path("-"):
        raise typer.BadParameter("--json and --save-json - both print on stdout: write one of them to a file")
    from ssd_edge.engines.opening import open_model, proof_for
    from ssd_edge.engines.proof.prove import prove
    from ssd_edge.stream.sources import check_source
    from ssd_edge.tracking.watch_file import WatchReader

    log = make_log(log_form)
    tell = log.note("run")
    cameras = read_cameras(camera or ["0"])
    network = NetworkOutputs(mqtt, mqtt_rate, webhook, webhook_rate, webhook_picture, rtsp_out, device)
    network.check(watched=watch is not None)
    saved = {"video": save_video, "images": save_images, "clips": save_clips, "json": save_json}
    collecting = read_collecting(
        collect, collect_against, model, collect_frames, collect_size, collect_share, collect_quiet
    )
    targets = _targets(saved, window or (False if network.targets or page or record or collect else None))
    check_paths({**targets, **collecting.targets}, cameras)
    check_record(record, degrade is Degrade.ENGINE)
    wanted = Wanted(
        mode=parsed_mode(size, fps, pixel_format),
        way=capture,
        buffer=EVERY if every_frame else parse_buffer(buffer),
        max_age=seconds_of("--max-age", max_age),
        min_score=min_score,
        reader=None if watch is None else WatchReader(watch),
        targets=targets,
        rules=read_rules((rotate_size, rotate_every), (disk_quota, disk_floor), (clip_before, clip_after), tell),
        network=network,
        collecting=collecting,
        several=len(cameras) > 1,
        relieving=Relieving(degrade, fallback),
        page=read_page(page, page_token_file),
        watch=watch,
    )
    for one in cameras:
        check_source(one.address, wanted.mode, wanted.way)
    with open_model(model, log.note("model", "warning")) as engine:
        if verify:
            tell(f"verified: {prove(engine, proof_for(model, engine)).sentence()}")
        with live_on(stderr(), log_form == "text") as show:
            kept = None if record is None else recordings(record, model, engine, wanted)
            ran = run_cameras(model, engine, cameras, replace(wanted, record=kept), log, show, frames, seconds)
    if as_json:
        about = {"model": str(model), "backend": engine.backend, "precision": engine.precision}
        print_json({**about, **ran.to_json()})
        return
    if log_form == "text":
        stderr().print(ran.table())
    else:
        tell(ran.headline())
    ran.say_end(log)


def _targets(paths: Mapping[str, Path | None], window: bool | None) -> dict[str, str]:
    """Return what each sink writes, by name; the window, if it is wanted or nothing else is and there is a display."""
    from ssd_edge.outputs.window import has_display

    targets = {name: str(path) for name, path in paths.items() if path}
    return {**targets, "window": ""} if window or (window is None and not targets and has_display()) else targets
