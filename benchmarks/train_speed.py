"""Images a second of a training step, beside torchvision's own models in one run.

Both train on the same images from the same disk, with the same batch, processes that load, threads and precision
(FP32). They take turns, so that a busy machine slows both; the figure is the median ratio of neighbouring turns.
torchvision runs in an environment of its own, which ``uv`` makes in the build folder (1 GB).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from figure import Figure, real_data
from peer_environment import TORCHVISION, python_with

from ssd_edge.data.readers import open_dataset

HERE = Path(__file__).resolve().parent
MODELS = {"ssdlite320_mobilenet_v3_large": (16, 6), "ssd300_vgg16": (8, 2)}
"""Batch size and steps of a turn."""
TURNS, WARM_UP = 5, 2
GOAL = 1.5


def measure() -> Figure:
    """Measure both models."""
    python = python_with("torchvision", TORCHVISION, "SSD_EDGE_TORCHVISION")
    detail = {model: _compare(model, python) for model in MODELS}
    ratios = {model: one["ratio"] for model, one in detail.items()}
    words = "; ".join(
        f"{model}: {one['ssd-edge']:.1f} against {one['torchvision']:.1f} images/s, {one['ratio']:.2f}×"
        for model, one in detail.items()
    )
    least = min(ratios.values())
    return Figure(
        "train-speed",
        least,
        "× torchvision's images/s, the lower of two models",
        f">= {GOAL}",
        least >= GOAL,
        detail,
        words,
    )


def _compare(model: str, torchvision: Path) -> dict[str, Any]:
    batch, steps = MODELS[model]
    data = real_data("data/bccd")
    training = open_dataset(data, "train")
    asked = {
        "model": model,
        "batch": batch,
        "threads": os.cpu_count() or 1,
        "workers": 1,
        "classes": len(training.labels),
        "data": str(data),
        "samples": [
            {"image": str(one.image), "boxes": one.target.boxes.tolist(), "labels": one.target.labels.tolist()}
            for one in training
            if (one.target.boxes[:, 2:] > one.target.boxes[:, :2]).all()
        ],
    }
    own, theirs = (sys.executable, "own_steps.py"), (str(torchvision), "torchvision_steps.py")
    with child(*own, asked) as ours, child(*theirs, asked) as peer:
        for one in (ours, peer):
            go(one, WARM_UP)
        turns = [(go(ours, steps), go(peer, steps)) for _ in range(TURNS)]
    images = batch * steps
    return {
        "ratio": statistics.median(peer_s / own_s for own_s, peer_s in turns),
        "ratios": [round(peer_s / own_s, 2) for own_s, peer_s in turns],
        "ssd-edge": images / statistics.median(own_s for own_s, _ in turns),
        "torchvision": images / statistics.median(peer_s for _, peer_s in turns),
        "batch": batch,
        "steps of a turn": steps,
    }


@contextmanager
def child(python: str, script: str, asked: dict[str, Any], **extra: str) -> Iterator[subprocess.Popen[str]]:
    """Start a training that waits for ``go``, with ``extra`` in its environment; end it when the block ends."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), **extra}
    command = [python, str(HERE / "peers" / script)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked) + "\n")
        yield process
    finally:
        process.kill()
        process.wait()


def go(process: subprocess.Popen[str], steps: int) -> float:
    """Have a training take some steps; return the seconds."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"go {steps}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise FileNotFoundError("a training ended early; see its messages above")
    return float(line)


if __name__ == "__main__":
    print(measure())
