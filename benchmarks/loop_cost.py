"""The loop's FPS with tracking, JSON and metrics on as a share of the bare engine's, and how old its frames are."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from building import SSDLITE300
from figure import Figure

from ssd_edge.detector import Engine
from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.export import export_onnx
from ssd_edge.loop.benchmark import Replay
from ssd_edge.loop.camera import Camera
from ssd_edge.loop.chosen import chosen
from ssd_edge.loop.run import CameraLoop
from ssd_edge.loop.stats import LoopReport
from ssd_edge.machine.summary import summary
from ssd_edge.outputs.catalogue import open_sink
from ssd_edge.outputs.opening import open_outputs
from ssd_edge.preprocess import preprocess
from ssd_edge.service.exposition import exposition
from ssd_edge.service.metrics import camera_families, duration_families, output_families
from ssd_edge.service.web import Address, Pages
from ssd_edge.speed import throughput
from ssd_edge.stream.buffers import EVERY, NEWEST, BufferPolicy
from ssd_edge.stream.frames import Frame, Source
from ssd_edge.stream.sources import open_source
from ssd_edge.tracking.watch_file import WatchReader
from ssd_edge.training.checkpoints import load_checkpoint

ROUNDS, FRAMES = 10, 150
FPS, SECONDS = 30.0, 15.0
WATCH = {
    "zones": [{"name": "middle", "points": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}],
    "lines": [{"name": "across", "points": [[0.5, 0], [0.5, 1]]}],
}


def measure() -> Figure:
    """Measure an SSDLite in FP32 on OpenVINO: engine and loop in turns, then the loop on a camera of 30 FPS."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        export_onnx(load_checkpoint(SSDLITE300).eval(), folder / "heads.onnx")
        build_bundle(folder / "heads.onnx", folder / "heads.engine", "openvino")
        (folder / "watch.yaml").write_text(json.dumps(WATCH))
        with load_bundle(folder / "heads.engine") as engine:
            with open_source("synthetic", realtime=False) as source:
                kept = [frame for frame in (source.read() for _ in range(64)) if frame is not None]
            pairs = [
                (_engine_fps(engine, kept[0]), _run(engine, Replay(kept, FRAMES), EVERY, folder).fps)
                for _ in range(1 + ROUNDS)
            ][1:]  # the first warms up
            live = _run(engine, open_source("synthetic"), NEWEST, folder, SECONDS)
    share = median(loop / alone for alone, loop in pairs)
    bound = 2 * live.stages["inference"].p50 + 1 / FPS
    return Figure(
        "loop-cost",
        share,
        "FPS with tracking, JSON and metrics / FPS of the engine alone",
        ">= 0.90; p99 of age <= 2 inferences + a frame interval",
        share >= 0.90 and live.age.p99 <= bound,
        {"pairs": pairs, "age": live.age._asdict(), "bound on age": bound, "machine": summary()},
        f"p99 of age {1000 * live.age.p99:.0f} ms, bound {1000 * bound:.0f} ms",
    )


def _engine_fps(engine: Engine, frame: Frame) -> float:
    images = [preprocess(frame.image, engine.spec) for _ in range(engine.depth)]
    return throughput(engine, images, lambda number, _: number < FRAMES)


def _run(
    engine: Engine, source: Source, buffer: BufferPolicy, folder: Path, seconds: float | None = None
) -> LoopReport:
    """Run the loop with everything on."""
    choice = chosen(engine.spec, None, WatchReader(folder / "watch.yaml"))
    lines = partial(open_sink, "json", str(folder / "out.jsonl"), engine.spec.labels, source.fps)
    sinks = open_outputs({"json": lines}, print, wait=False)
    with engine.detector(choice.lowest_score) as detector, CameraLoop(detector) as loop:
        loop.add(Camera("camera", source, sinks, choice.shown, buffer))
        with _scraped(loop):
            return loop.run(duration=seconds).cameras["camera"]


@contextmanager
def _scraped(loop: CameraLoop) -> Iterator[None]:
    """Serve the loop's metrics, and read them once a second."""

    def text() -> str:
        reports = loop.report().cameras
        return exposition([*camera_families(reports), *duration_families(reports), *output_families(reports)])

    ended = threading.Event()

    with Pages(Address("127.0.0.1", 0), text, lambda: (True, {})) as pages:

        def read() -> None:
            while not ended.wait(1.0):
                with urlopen(f"http://{pages.address}/metrics", timeout=10) as answer:
                    answer.read()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join()
