"""IDF1 of the tracker on rendered conveyors with known objects, compared with public trackers; milliseconds a frame."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from figure import Figure
from identity import Identity, compare
from tracking_peers import TOOLS, environment
from tracking_scene import FPS, Boxes, Scene, scene

from ssd_edge.data.synthetic import LABELS
from ssd_edge.detections import Detections
from ssd_edge.tracking.tracker import Settings, State, Tracker

SCENES, FRAMES = 6, 300
CROWD = 50
"""Objects of the measurement of time."""
BEGIN = 0.6
"""Score that begins a track, as in the authors' program."""


def ours(made: Scene) -> list[Boxes]:
    """Follow the objects of a scene."""
    tracker, found = Tracker(Settings([BEGIN] * len(LABELS))), []
    for frame, detections in enumerate(made.detections):
        here = [track for track in tracker.update(detections, frame / FPS) if track.state is State.PRESENT]
        boxes = np.array([track.box for track in here], np.float32).reshape(-1, 4)
        found.append(Boxes(np.array([track.id for track in here], np.int64), boxes))
    return found


def stored(made: Scene, path: Path) -> None:
    """Write a scene's detections as ``tracking_peers`` reads them."""
    np.savez_compressed(
        path,
        frame=np.concatenate([np.full(len(one), index) for index, one in enumerate(made.detections)]),
        boxes=np.concatenate([one.boxes for one in made.detections]),
        scores=np.concatenate([one.scores for one in made.detections]),
        labels=np.concatenate([one.labels for one in made.detections]),
        frames=len(made.detections),
        fps=FPS,
    )


def theirs(tool: str, made: Scene, python: Path, checkout: Path | None) -> list[Boxes]:
    """Let a public tracker follow them."""
    with tempfile.TemporaryDirectory() as scratch:
        given, tracks = Path(scratch) / "detections.npz", Path(scratch) / "tracks.npz"
        stored(made, given)
        script = Path(__file__).with_name("tracking_peers.py")
        command = [str(python), str(script), tool, str(given), str(tracks), *([str(checkout)] if checkout else [])]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise FileNotFoundError(f"{tool} failed: {done.stderr.strip()[-300:]}")
        with np.load(tracks) as found:
            frames, names, boxes = found["frame"], found["names"], found["boxes"]
    return [Boxes(names[frames == frame], boxes[frames == frame]) for frame in range(len(made.truth))]


def milliseconds(objects: int = CROWD, frames: int = 300) -> float:
    """Measure the median time of an update with this number of objects, of which one in twenty is missed."""
    rng = np.random.default_rng(0)
    centres, speeds, labels = rng.uniform(0, 1500, (objects, 2)), rng.normal(0, 3, (objects, 2)), np.arange(objects) % 3
    tracker, times = Tracker(Settings([BEGIN] * 3)), []
    for frame in range(frames):
        centres += speeds
        boxes = (np.concatenate([centres - 40, centres + 40], axis=1) + rng.normal(0, 1, (objects, 4))).astype(
            np.float32
        )
        seen = rng.random(objects) > 0.05
        detections = Detections(boxes[seen], rng.uniform(0.3, 1, objects)[seen].astype(np.float32), labels[seen])
        began = perf_counter()
        tracker.update(detections, frame / 30)
        times.append(perf_counter() - began)
    return 1000 * median(times)


def measure() -> Figure:
    """Compare on all scenes together."""
    python, checkout = environment(Path(__file__).resolve().parents[1] / "build" / "tracking-peers")
    made = [scene(seed, FRAMES) for seed in range(SCENES)]
    results = {"ssd-edge": sum((compare(one.truth, ours(one)) for one in made), Identity())}
    tools = [tool for tool in TOOLS if checkout or "authors" not in tool]
    for tool in tools:
        results[tool] = sum((compare(one.truth, theirs(tool, one, python, checkout)) for one in made), Identity())
    own, took = results["ssd-edge"], milliseconds()
    best = max(results[tool].idf1 for tool in tools)
    return Figure(
        "tracking",
        own.idf1,
        f"IDF1 on {SCENES} rendered conveyors of {FRAMES} frames, with missed and false detections",
        f"not below the public trackers; {CROWD} objects in less than 1 ms a frame",
        own.idf1 >= best and took < 1,
        {
            **{name: {**vars(one), "IDF1": one.idf1, "MOTA": one.mota} for name, one in results.items()},
            "tools": {tool: TOOLS[tool] for tool in tools},
            f"ms a frame, {CROWD} objects": took,
        },
        "; ".join(
            f"{name}: IDF1 {one.idf1:.4f}, MOTA {one.mota:.4f}, {one.switches} switches"
            for name, one in results.items()
        )
        + f"; {took:.2f} ms a frame with {CROWD} objects",
    )


if __name__ == "__main__":
    print(measure())
