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
from ssd_edge.tracking.plan import Line, Plan, Zone
from ssd_edge.tracking.tracker import Settings, State, Tracker
from ssd_edge.tracking.watch import Watch

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


def milliseconds(objects: int = CROWD, frames: int = 300) -> dict[str, float]:
    """Measure what following this number of objects adds to a frame: of each frame in turn, median of the differences.

    One object in twenty is missed in each frame. ``ids`` is without zones, ``zones`` with four and a line.
    """
    rng, labels = np.random.default_rng(0), ("a", "b", "c")
    kinds, size = np.arange(objects) % len(labels), (1500, 1500)
    centres, speeds = rng.uniform(0, 1500, (objects, 2)), rng.normal(0, 3, (objects, 2))
    settings = Settings([BEGIN] * len(labels))
    corners = [(x, y) for x in (0.1, 0.5) for y in (0.1, 0.5)]
    zones = [Zone(f"{x} {y}", ((x, y), (x + 0.4, y), (x + 0.4, y + 0.4), (x, y + 0.4)), min_time=1) for x, y in corners]
    plan = Plan(settings, zones=tuple(zones), lines=(Line("line", ((0, 0), (1, 1))),))
    watches = {"ids": Watch(Plan(settings), labels), "zones": Watch(plan, labels)}
    more: dict[str, list[float]] = {name: [] for name in watches}
    for frame in range(frames):
        centres += speeds
        boxes = np.concatenate([centres - 40, centres + 40], axis=1) + rng.normal(0, 1, (objects, 4))
        seen = rng.random(objects) > 0.05
        scores = rng.uniform(0.3, 1, objects)
        detections = Detections(boxes[seen].astype(np.float32), scores[seen].astype(np.float32), kinds[seen])
        began = perf_counter()
        detections.above(BEGIN)
        without = perf_counter() - began
        for name, watch in watches.items():
            began = perf_counter()
            watch.update(detections, frame / 30, size)
            more[name].append(perf_counter() - began - without)
    return {name: 1000 * median(times) for name, times in more.items()}


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
        own.idf1 >= best and took["ids"] < 1,
        {
            **{name: {**vars(one), "IDF1": one.idf1, "MOTA": one.mota} for name, one in results.items()},
            "tools": {tool: TOOLS[tool] for tool in tools},
            f"ms more a frame, {CROWD} objects": took,
        },
        "; ".join(
            f"{name}: IDF1 {one.idf1:.4f}, MOTA {one.mota:.4f}, {one.switches} switches"
            for name, one in results.items()
        )
        + f"; {CROWD} objects: {took['ids']:.2f} ms more a frame, {took['zones']:.2f} with four zones and a line",
    )


if __name__ == "__main__":
    print(measure())
