"""Record 1 000 frames, replay them to the last bit, and locate faults planted in each stage.

python benchmarks/show.py --only replay

An SSDLite (FP32, OpenVINO) detects on the rendered conveyor of 320×240, with a score from 0.1 on, and objects
are followed. Then, in a recording of 8 frames, each stage's result is changed in one frame of the replay: by one grey
level of one value, or, of boxes, by their last bit.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from typing import Any

import numpy as np
from building import SSDLITE300
from figure import Figure, in_a_process

FRAMES, SHORT, TRIALS = 1000, 8, 20
WATCH = {"zones": [{"name": "belt", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}]}
SCORE = 0.1


def measure() -> Figure:
    """Record, replay and plant in a process of its own."""
    found = in_a_process(__file__)
    located, planted = sum(found["located"].values()), TRIALS * len(found["located"])
    return Figure(
        "replay",
        found["equal"],
        f"of {FRAMES} recorded frames replayed with equal bits in all five stages",
        f"all {FRAMES}; {TRIALS} faults in each stage, all located in their stage and frame",
        found["equal"] == FRAMES and located == planted,
        found,
        f"{located} of {planted} faults located; recording takes {found['milliseconds']['recorder']:.1f} ms of a frame "
        f"in a thread of its own, of it digests {found['milliseconds']['digests']:.1f} ms",
    )


def main(frames: int) -> dict[str, Any]:
    """Measure, and return the numbers."""
    import pytest

    from ssd_edge.engines.bundle.build import build_bundle
    from ssd_edge.engines.opening import open_model
    from ssd_edge.export import export_onnx
    from ssd_edge.replay.check import replayed
    from ssd_edge.replay.reading import open_recording
    from ssd_edge.replay.stages import STAGES
    from ssd_edge.stream.camera_mode import CameraMode
    from ssd_edge.stream.sources import open_source
    from ssd_edge.training.checkpoints import load_checkpoint
    from tests.replay.worlds import Limited, record, with_fault

    def camera(number: int) -> Limited:
        return Limited(open_source("synthetic", realtime=False, mode=CameraMode((320, 240))), number)

    with tempfile.TemporaryDirectory() as scratch:
        onnx, bundle = Path(scratch) / "heads.onnx", Path(scratch) / "heads.engine"
        export_onnx(load_checkpoint(SSDLITE300).eval(), onnx)
        build_bundle(onnx, bundle, "openvino")
        long, short = Path(scratch) / "long", Path(scratch) / "short"
        record(long, bundle, camera(frames), watch=WATCH, score=SCORE)
        record(short, bundle, camera(SHORT), watch=WATCH, score=SCORE)
        recording = open_recording(long)
        with open_model(bundle) as engine:
            verdict = replayed(recording, engine)
        located = dict.fromkeys(STAGES, 0)
        rng = np.random.default_rng(0)
        with open_model(bundle) as engine:
            for stage in STAGES:
                for frame in rng.integers(0, SHORT, TRIALS).tolist():
                    with pytest.MonkeyPatch.context() as patch:
                        with_fault(stage, patch, engine, frame)
                        first = replayed(open_recording(short), engine).first
                    located[stage] += first is not None and (first.stage, first.number) == (stage, frame)
        size = sum(path.stat().st_size for path in long.iterdir())
        return {
            "frames": verdict.frames,
            "equal": verdict.frames - sum(verdict.different.values()),
            "compared": verdict.compared,
            "located": located,
            "bytes a frame": size // frames,
            "share of raw": size / frames / (320 * 240 * 3),
            "milliseconds": costs(long),
        }


def costs(folder: Path) -> dict[str, float]:
    """Measure milliseconds of this thread's time for a frame of 320×240 and an input of 300×300."""
    from ssd_edge.detections import Detections
    from ssd_edge.replay.container import packed
    from ssd_edge.replay.pictures import decoded, lossless
    from ssd_edge.replay.reading import open_recording
    from ssd_edge.replay.stages import Trace, Traced, digests

    rng = np.random.default_rng(0)
    image, loc, logits = (rng.random(shape, np.float32) for shape in ((3, 300, 300), (3000, 4), (3000, 4)))
    traced = Traced(**vars(Detections.empty()), trace=Trace(image, loc, logits))
    shots = [placed.shot for _, placed in list(open_recording(folder).runs[0].shots())[:50]]
    pixels = [decoded(shot.picture) for shot in shots]
    spent: dict[str, list[float]] = {"png": [], "digests": [], "record": [], "copy in the loop": []}
    for frame, shot in zip(pixels, shots, strict=True):
        for name, work in (
            ("png", lambda frame=frame: lossless(frame)),
            ("digests", lambda frame=frame: digests(frame, traced, traced)),
            ("record", lambda shot=shot: packed(shot)),
            ("copy in the loop", lambda: (loc.copy(), logits.copy())),
        ):
            began = thread_time()
            work()
            spent[name].append(thread_time() - began)
    result = {name: 1000 * median(times) for name, times in spent.items()}
    return {**result, "recorder": result["png"] + result["digests"] + result["record"]}


if __name__ == "__main__":
    began = perf_counter()
    numbers = main(int(sys.argv[1]) if len(sys.argv) > 1 else FRAMES)
    print(json.dumps({**numbers, "seconds": perf_counter() - began}))
