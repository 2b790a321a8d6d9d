"""Public trackers, in a process without ssd-edge: ``python tracking_peers.py TOOL IN.npz OUT.npz [CHECKOUT]``.

IN has ``frame``, ``boxes``, ``scores`` and ``labels`` of detections, and ``frames`` and ``fps``; OUT gets ``frame``,
``names``, ``boxes`` and ``scores``, which say what detection it was. Each tool has its own defaults.
"""

from __future__ import annotations

import subprocess
import sys
import types
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

TOOLS = {
    "trackers": "Roboflow's trackers 2.6.1, ByteTrackTracker",
    "authors": "github.com/ifzhang/ByteTrack, BYTETracker",
    "trackers by class": "the first, one of it for each class, as neither knows classes",
    "authors by class": "the second, likewise",
}
PACKAGES = ("trackers==2.6.1", "supervision==0.31.2", "scipy==1.17.1", "lap==0.5.13")
REPOSITORY, COMMIT = "https://github.com/ifzhang/ByteTrack", "d1bf0191adff59bc8fcfeaa0b33d3d1642552a99"


def environment(folder: Path) -> tuple[Path, Path | None]:
    """Return the Python of an environment with the tools, and the authors' checkout, None if it cannot be had.

    Raises:
        FileNotFoundError: the environment cannot be made.
    """
    python, checkout = folder / "bin" / "python", folder / "ByteTrack"
    if not (folder / "whole").exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", *PACKAGES],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise FileNotFoundError(f"the trackers to compare with cannot be had: {done.stderr.strip()[-300:]}")
        (folder / "whole").touch()
    if not checkout.exists():
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", REPOSITORY, str(checkout)], capture_output=True)
    taken = subprocess.run(
        ["git", "-C", str(checkout), "checkout", "--quiet", COMMIT, "--", "yolox/tracker"], capture_output=True
    )
    return python, None if taken.returncode else checkout


Rows = Iterator[tuple[int, Any, float]]
"""Name, box and score of each track of one frame."""


class Trackers:
    """Roboflow's."""

    def __init__(self, fps: float, checkout: str) -> None:
        from trackers import ByteTrackTracker

        self._tracker = ByteTrackTracker(frame_rate=fps)

    def update(self, boxes: Any, scores: Any) -> Rows:
        """Take in a frame; its tracks are detections with an id, −1 if they have none."""
        import supervision

        found = self._tracker.update(
            supervision.Detections(boxes, confidence=scores, class_id=np.zeros(len(boxes), int))
        )
        for row in range(len(found)):
            if found.tracker_id[row] >= 0:
                yield int(found.tracker_id[row]), found.xyxy[row], float(found.confidence[row])


class Authors:
    """The paper's program; what it imports beside scipy and lap is replaced: it does not use torch."""

    def __init__(self, fps: float, checkout: str) -> None:
        folder = Path(checkout) / "yolox" / "tracker"
        for name in ("torch", "torch.nn", "torch.nn.functional", "cython_bbox", "yolox", "yolox.tracker"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules["torch"].nn = sys.modules["torch.nn"]  # type: ignore[attr-defined]
        sys.modules["torch.nn"].functional = sys.modules["torch.nn.functional"]  # type: ignore[attr-defined]
        sys.modules["cython_bbox"].bbox_overlaps = overlaps  # type: ignore[attr-defined]
        sys.modules["yolox.tracker"].__path__ = [str(folder)]
        vars(np)["float"] = float  # which NumPy had then
        from yolox.tracker.byte_tracker import BYTETracker

        settings = Namespace(track_thresh=0.5, match_thresh=0.8, track_buffer=30, mot20=False)
        self._tracker = BYTETracker(settings, fps)

    def update(self, boxes: Any, scores: Any) -> Rows:
        """Take in a frame; its tracks have boxes of the filter."""
        rows = np.concatenate([boxes, scores[:, None]], axis=1).astype(np.float64)
        for track in self._tracker.update(rows, (1, 1), (1, 1)):
            yield track.track_id, track.tlbr, float(track.score)


def overlaps(first: Any, second: Any) -> Any:
    """Compute IoU of (N, 4) and (M, 4) boxes; cython_bbox would make each a pixel wider and higher."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    sizes = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    return shared / (sizes[0][:, None] + sizes[1][None] - shared)


def main(tool: str, source: str, target: str, checkout: str = "") -> None:
    """Run a tool on all frames."""
    given = np.load(source)
    name, by_class, _ = tool.partition(" by class")
    groups = np.unique(given["labels"]).tolist() if by_class else [None]
    rows = []
    for number, label in enumerate(groups):
        tracker = {"trackers": Trackers, "authors": Authors}[name](float(given["fps"]), checkout)
        before = max((row[1] for row in rows), default=0) if number else 0
        for frame in range(int(given["frames"])):
            here = (given["frame"] == frame) & ((given["labels"] == label) | (label is None))
            found = tracker.update(given["boxes"][here], given["scores"][here])
            rows += [(frame, before + 1 + row[0], *row[1:]) for row in found]
    np.savez_compressed(
        target,
        frame=np.array([row[0] for row in rows], np.int64),
        names=np.array([row[1] for row in rows], np.int64),
        boxes=np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row[3] for row in rows], np.float32),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
