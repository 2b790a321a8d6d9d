"""Memory, threads and handles of the camera loop over 100 000 frames with all outputs on.

python benchmarks/show.py --only soak                    100 000 frames, into docs/soak.csv and docs/images/soak.png
python benchmarks/soak.py --frames 3000 --into FOLDER    a short run

The synthetic camera draws 320×240 as fast as the loop takes frames, an SSDLite at 160×128 (FP32, OpenVINO)
detects, with a score from 0.2 on, and video, clips and JSON are written in pieces of 4 MB within a quota of 100 MB;
MQTT too, where this version has it and mosquitto is installed. A process of its own does that, so that nothing else is
measured.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

from building import SSDLITE300, built
from figure import Figure

from ssd_edge.detections import Detections
from ssd_edge.outputs.sink import Sink
from ssd_edge.stream.frames import Frame

ROOT = Path(__file__).resolve().parents[1]
FRAMES, WARM_UP, SAMPLED = 100_000, 5_000, 100
INPUT = (128, 160)
"""Height and width that the network sees: a small one, so that the outputs' work is the larger share of a frame's."""
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Sample(NamedTuple):
    """What the process has after so many frames and seconds."""

    frame: int
    seconds: float
    resident_bytes: int
    threads: int
    handles: int


def sample(frame: int, began: float) -> Sample:
    """Look at this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    handles = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no Path for each
    return Sample(frame, monotonic() - began, pages * os.sysconf("SC_PAGE_SIZE"), threading.active_count(), handles)


class Gauge(Sink):
    """Sink that looks at the process every hundredth frame."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._began, self._frames = monotonic(), 0

    def write(self, frame: Frame, detections: Detections) -> None:
        """See ``Sink``."""
        self._frames += 1
        if self._frames % SAMPLED == 0:
            self.samples.append(sample(self._frames, self._began))


@contextmanager
def broker(folder: Path) -> Iterator[str | None]:
    """Run mosquitto on a free port, if there is one and this version writes to it; give its address."""
    from ssd_edge.outputs.catalogue import SINKS

    if MOSQUITTO is None or "mqtt" not in SINKS:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (folder / "mosquitto.conf").write_text(f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        sleep(1)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def run(bundle: Path, folder: Path, frames: int) -> dict[str, Any]:
    """Run the loop in this process; return its samples and report."""
    from ssd_edge.engines.opening import open_model
    from ssd_edge.loop.run import run_loop
    from ssd_edge.machine.allocator import share_arenas
    from ssd_edge.outputs.catalogue import open_sink
    from ssd_edge.outputs.limits import Limit
    from ssd_edge.outputs.opening import open_outputs
    from ssd_edge.outputs.rules import Rules
    from ssd_edge.outputs.space import Space
    from ssd_edge.stream.buffers import EVERY
    from ssd_edge.stream.camera_mode import CameraMode
    from ssd_edge.stream.sources import open_source

    share_arenas()  # as ssd-edge run does
    targets = {"video": str(folder / "out.mp4"), "clips": str(folder / "clips"), "json": str(folder / "out.jsonl")}
    rules = Rules(Limit(4_000_000), space=Space(100_000_000))
    gauge, before, lines = Gauge(), threading.active_count(), list[str]()
    with open_model(bundle) as engine, broker(folder) as address:
        source = open_source("synthetic", realtime=False, mode=CameraMode((320, 240)))
        openers = rules.openers(targets, engine.spec.labels, source.fps, "soak")
        if address is not None:
            openers["mqtt"] = partial(open_sink, "mqtt", address, engine.spec.labels, source.fps, camera="soak")
        sinks = open_outputs(openers, lines.append, wait=False)
        report = run_loop(engine.detector(0.2), source, [*sinks, gauge], buffer=EVERY, max_frames=frames)
    outputs = {one.name: {"written": one.written, "dropped": dict(one.dropped)} for one in report.outputs}
    return {
        "samples": gauge.samples,
        "outputs": outputs,
        "lines": lines,
        "fps": report.fps,
        "removed": rules.space.removed,
        "threads left": threading.active_count() - before,
    }


def soak(frames: int) -> dict[str, Any]:
    """Run the loop in a process of its own."""
    from ssd_edge.models.registry import with_input
    from ssd_edge.training.checkpoints import load_checkpoint, replace_spec

    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "sample.pt"
        shutil.copyfile(SSDLITE300, model)
        replace_spec(model, with_input(load_checkpoint(model).spec, INPUT))
        child = [sys.executable, __file__, "--frames", str(frames), "--bundle", str(built(model)), "--into", scratch]
        done = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    result["samples"] = [Sample(*one) for one in result["samples"]]
    return result


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """Compare the first tenth after the warm-up with the last, by medians: a file that is just opened is no leak."""
    settled = [one for one in samples if one.frame >= min(WARM_UP, samples[-1].frame // 4)]
    part = max(1, len(settled) // 10)

    def of(name: str) -> tuple[float, float]:
        first, last = (
            statistics.median(getattr(one, name) for one in some) for some in (settled[:part], settled[-part:])
        )
        return first, last

    resident, threads, handles = of("resident_bytes"), of("threads"), of("handles")
    return {
        "memory": resident[1] / resident[0] - 1,
        "MB at first": resident[0] / 1e6,
        "MB at last": resident[1] / 1e6,
        "threads": threads[1] - threads[0],
        "handles": handles[1] - handles[0],
    }


def write(samples: Sequence[Sample], table: Path, picture: Path) -> None:
    """Write the samples as CSV, and draw them."""
    from ssd_edge.training.plot import Line, Panel, draw

    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Sample._fields)
        writer.writerows(one._replace(seconds=round(one.seconds, 1)) for one in samples)
    memory = Line("resident memory", [(one.frame, one.resident_bytes / 1e6) for one in samples])
    counts = [Line(name, [(one.frame, getattr(one, name)) for one in samples]) for name in ("threads", "handles")]
    draw([Panel("MB", "frames", [memory]), Panel("number", "frames", counts)], picture)


def measure(frames: int = FRAMES, into: Path = ROOT / "docs") -> Figure:
    """Measure, and write ``soak.csv`` and ``images/soak.png`` into a folder."""
    result = soak(frames)
    (into / "images").mkdir(parents=True, exist_ok=True)
    write(result["samples"], into / "soak.csv", into / "images" / "soak.png")
    grown = growth(result["samples"])
    steady = grown["threads"] <= 0 and grown["handles"] <= 0 and result["threads left"] <= 0
    beside = (
        f"{frames} frames at {result['fps']:.0f} FPS; {grown['MB at first']:.0f} to {grown['MB at last']:.0f} MB; "
        f"threads {grown['threads']:+.0f}, handles {grown['handles']:+.0f}; outputs {', '.join(result['outputs'])}"
    )
    detail = {key: value for key, value in result.items() if key != "samples"}
    return Figure(
        "soak",
        100 * grown["memory"],
        "% that resident memory grew after the first 5 000 frames",
        "<= 1, no thread or handle leaked",
        grown["memory"] <= 0.01 and steady,
        {**grown, **detail},
        beside,
    )


def main() -> None:
    """Print a figure as JSON; with ``--bundle``, what the loop in this process did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--into", type=Path, required=True, help="folder for soak.csv and images/soak.png")
    parser.add_argument("--bundle", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bundle is not None:
        print(json.dumps(run(arguments.bundle, arguments.into, arguments.frames)))
    else:
        print(json.dumps(asdict(measure(arguments.frames, arguments.into))))


if __name__ == "__main__":
    main()
