"""Four synthetic cameras at 30 FPS on one engine: each camera's share, and how old frames are when they are shown."""

from __future__ import annotations

import tempfile
from pathlib import Path

from building import SSDLITE300
from figure import Figure

from ssd_edge.engines.bundle.build import build_bundle
from ssd_edge.engines.bundle.load import load_bundle
from ssd_edge.export import export_onnx
from ssd_edge.loop.camera import Camera
from ssd_edge.loop.run import CameraLoop
from ssd_edge.machine.summary import summary
from ssd_edge.stream.sources import open_source
from ssd_edge.training.checkpoints import load_checkpoint

SECONDS, FPS = 30.0, 30.0
NAMES = ("a", "b", "c", "d")


def measure() -> Figure:
    """Run the SSDLite of 300x300 for half a minute; ages are bounded by a frame interval and a turn of each camera.

    A frame waits for at most one turn of each other camera, and is inferred beside one more.
    """
    with tempfile.TemporaryDirectory() as scratch:
        onnx, bundle = Path(scratch) / "heads.onnx", Path(scratch) / "heads.engine"
        export_onnx(load_checkpoint(SSDLITE300).eval(), onnx)
        build_bundle(onnx, bundle, "openvino")
        with load_bundle(bundle) as engine, CameraLoop(engine.detector(0.5)) as loop:
            for number, name in enumerate(NAMES):
                loop.add(Camera(name, open_source(f"synthetic:{number}")))
            report = loop.run(duration=SECONDS)
    cameras = report.cameras
    worst = max(abs(share * len(NAMES) - 1) for share in report.shares.values())
    inference = max(one.stages["inference"].p50 for one in cameras.values())
    bound = 1 / FPS + (len(NAMES) + 1) * inference
    oldest = max(one.age.p99 for one in cameras.values())
    accounted = all(one.sent == one.processed + sum(one.ledger.values()) for one in cameras.values())
    return Figure(
        "four-cameras",
        worst,
        "largest difference of a camera's share from a quarter, as a part of a quarter",
        "<= 0.10; p99 of age <= a frame interval + five inferences; every frame accounted for",
        worst <= 0.10 and oldest <= bound and accounted,
        {
            "shares": report.shares,
            "age p99": {name: one.age.p99 for name, one in cameras.items()},
            "bound on age": bound,
            "turns waited": {name: one.turns_waited for name, one in cameras.items()},
            "ledgers": {name: one.ledger for name, one in cameras.items()},
            "machine": summary(),
        },
        f"{report.fps:.1f} FPS in all; p99 of age {1000 * oldest:.0f} ms, bound {1000 * bound:.0f} ms",
    )
