"""Train Ultralytics' smallest detector for a budget of processor time, and print its detections as JSON.

Runs in an environment of its own, which has ultralytics and not ssd-edge. All settings are Ultralytics' own, but for
the number of epochs: what fits into the budget by the time of two epochs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

os.environ["YOLO_VERBOSE"] = "false"
os.environ["YOLO_AUTOINSTALL"] = "false"

import torch
import yaml
from PIL import Image

MODEL = "yolo11n.yaml"
PROBED = 2


def main():
    """Train, detect, print."""
    asked = json.loads(sys.stdin.readline())
    printed, sys.stdout = sys.stdout, sys.stderr  # Ultralytics prints on stdout
    from ultralytics import YOLO

    folder = Path(asked["folder"])
    data = written(asked, folder)
    common = {
        "data": str(data),
        "imgsz": asked["size"],
        "batch": asked["batch"],
        "workers": 0,
        "device": "cpu",
        "seed": asked["seed"],
        "project": str(folder / "runs"),
        "pretrained": False,
        "val": False,
        "plots": False,
        "amp": False,
    }
    began = time.process_time()
    YOLO(MODEL).train(epochs=PROBED, name="probe", **common)
    each = (time.process_time() - began) / PROBED
    epochs = max(1, int(asked["seconds"] / each))
    trained = YOLO(MODEL)
    trained.train(epochs=epochs, name="trained", **common)
    best = YOLO(str(folder / "runs" / "trained" / "weights" / "last.pt"))
    found = []
    for path in asked["measured"]:
        (one,) = best.predict(path, imgsz=asked["size"], conf=0.001, max_det=300, device="cpu", verbose=False)
        boxes = one.boxes
        found.append([boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.int().tolist()])
    print(json.dumps({"epochs": epochs, "begun": "no weights", "detections": found}), file=printed)


def written(asked, folder):
    """Write the training images in Ultralytics' form; return its data file."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(asked["training"]):
        shutil.copy(one["image"], folder / "images" / f"{number:05d}{Path(one['image']).suffix}")
        with Image.open(one["image"]) as image:
            width, height = image.size
        lines = [
            f"{label} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} {(y2 - y1) / height}"
            for (x1, y1, x2, y2), label in zip(one["boxes"], one["labels"], strict=True)
        ]
        (folder / "labels" / f"{number:05d}.txt").write_text("\n".join(lines))
    names = dict(enumerate(asked["names"]))
    data = folder / "data.yaml"
    data.write_text(yaml.safe_dump({"path": str(folder), "train": "images", "val": "images", "names": names}))
    return data


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    main()
