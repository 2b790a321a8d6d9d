"""AP50 on BCCD's test images of three detectors trained on the same images for the same processor time.

ssd-edge's small-data recipe beside torchvision's SSDLite and Ultralytics' smallest model, each with its own project's
recipe, one after the other. Each begins with what is stored here: ssd-edge with an imported detector of pedestrians,
the two others with no weights, since theirs are downloads. All detections are measured by one program, which equals
published reference numbers (``show.py --only reference-ap``). Time is that of all threads together, so that a busy
machine slows none more than another. Usage: ``python peers_train.py [MINUTES]``, of both cores, 10 each by default.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from figure import Figure, real_data
from peer_environment import TORCHVISION, python_with

from ssd_edge.data.dataset import Dataset
from ssd_edge.data.readers import open_dataset
from ssd_edge.detections import Detections
from ssd_edge.evaluation import Evaluation, evaluate

HERE = Path(__file__).resolve().parent
ULTRALYTICS = "ultralytics==8.4.190"
MINUTES, CORES = 10.0, 2
MODEL, INPUT = "ssdlite300_mobilenet_v2_tensorflow", "640x480"
PEERS = {
    "ssd-edge": "own_train.py",
    "torchvision ssdlite320_mobilenet_v3_large": "torchvision_train.py",
    "Ultralytics yolo11n": "ultralytics_train.py",
}


def measure(minutes: float = MINUTES) -> Figure:
    """Train and measure all three."""
    python = python_with("peers", (*TORCHVISION, ULTRALYTICS), "SSD_EDGE_PEERS")
    data = real_data("data/bccd")
    start = real_data("weights/pedestrian_ssdlite/frozen_inference_graph.pb")
    test = open_dataset(data, "test")
    detail: dict[str, Any] = {}
    for name, script in PEERS.items():
        with tempfile.TemporaryDirectory() as folder:
            asked = {**_asked(data, test), "seconds": 60 * CORES * minutes, "folder": folder, "start": str(start)}
            said = _run(sys.executable if script == "own_train.py" else str(python), script, asked)
        detail[name] = {**_numbers(test, said.pop("detections")), **said}
    best = max(detail, key=lambda name: float(detail[name]["AP50"]))
    rows = "; ".join(
        f"{name} {one['AP50']:.3f} [{one['interval'][0]:.3f}, {one['interval'][1]:.3f}] after {one['epochs']} epochs, "
        f"from {one['begun']}"
        for name, one in detail.items()
    )
    return Figure(
        "peers-train",
        detail["ssd-edge"]["AP50"],
        f"AP50 (VOC) on the test images after {minutes:g} minutes of {CORES} cores",
        "the highest of three",
        best == "ssd-edge",
        {"best": best, **detail},
        rows,
    )


def _asked(data: Path, test: Dataset) -> dict[str, Any]:
    training = open_dataset(data, "train")
    return {
        "data": str(data),
        "model": MODEL,
        "input": INPUT,
        "size": 640,
        "seed": 0,
        "batch": 16,
        "threads": CORES,
        "classes": len(training.labels),
        "names": list(training.labels),
        "training": [
            {"image": str(one.image), "boxes": one.target.boxes.tolist(), "labels": one.target.labels.tolist()}
            for one in training
            if (one.target.boxes[:, 2:] > one.target.boxes[:, :2]).all()
        ],
        "measured": [str(one.image) for one in test],
    }


def _run(python: str, script: str, asked: dict[str, Any]) -> dict[str, Any]:
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(HERE.parent)}
    child = subprocess.run(
        [python, str(HERE / "peers" / script)],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )
    if child.returncode:
        raise FileNotFoundError(f"{script} ended with exit code {child.returncode}")
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer


def _numbers(test: Dataset, found: list[Any]) -> dict[str, Any]:
    detections = [
        Detections(
            np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(scores, np.float32), np.asarray(labels, np.int64)
        )
        for boxes, scores, labels in found
    ]
    result: Evaluation = evaluate(detections, [one.target for one in test], test.labels)
    interval = result.intervals.overall["voc_map50"]
    assert interval is not None
    return {
        "AP50": result.voc_map50 or 0.0,
        "interval": [interval.low, interval.high],
        **{one.label: one.voc_ap50 for one in result.per_class},
    }


if __name__ == "__main__":
    print(measure(float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES))
