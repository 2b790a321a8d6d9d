"""Measures the figures that the documentation quotes, and prints one JSON line for each.

python benchmarks/show.py --list
python benchmarks/show.py --only pedestrian
python benchmarks/show.py --table          Markdown instead of JSON
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from importlib import import_module

from figure import Figure

from ssd_edge.errors import SsdEdgeError
from ssd_edge.machine import instructions
from ssd_edge.machine.host import this_host

ENTRIES = {
    "reference-ap": "evaluation against published AP numbers",
    "intervals": "share of repetitions in which the 95 % interval of an AP, or of a change, holds the truth",
    "leaks": "near copies of training images planted in a test split that check-data finds, and what they add to AP",
    "pedestrian": "AP of an imported model, FP32 and INT8, against an independent figure",
    "imports": "differences of imported detectors from the originals: heads, default boxes, detections",
    "bccd": "AP50 of the sample model on BCCD's test images, FP32 and INT8 (--retrain: train it first, by its recipe)",
    "loss-equals-numpy": "matching, MultiBox loss and its gradients, compared with a plain NumPy version in float64",
    "preprocess-equal": "equality of 10 000 resized frames: OpenCV here and on aarch64, NumPy, the kernel; resize time",
    "resize-area": "AP with frames resized by averaging, compared with bilinear",
    "emulated-equals-cpu": "frames with the CPU's detections on the GPU path, over an emulated driver",
    "plugin-equals-cpu": "frames with the CPU's detections from decode as TensorRT plugins, over fakes",
    "jetson-rehearsal": "commands of the Jetson and RTX pages that are right on recorded machines, faults planted",
    "planes": "frames of each pixel format through the preprocess kernel, compared with NumPy to the last bit",
    "host-work": "microseconds to submit a frame to the GPU path, from lent and other memory, over the emulated driver",
    "kernel-table": "registers, shared memory, spills, FP64 and barriers of the CUDA kernels, from compiler and SASS",
    "rtx-table": "RTX bundles built here: size, convolutions by precision, device memory, build seconds",
    "int8-table": "AP lost by INT8 on five models, compared with ONNX Runtime, NNCF and Model Optimizer: 15 minutes",
    "int8-exact": "AP of INT8 engines and of their files computed exactly, on this processor and on one without VNNI",
    "int8-contract": "calibrate --max-drop 0.2 on each of these models, and the share of INT8",
    "int8-rtx-accepts": "Q/DQ files that NVIDIA's compiler for RTX GPUs accepts with the intended INT8 convolutions",
    "engine-proof": "planted faults in engines that the model's proof catches, and seconds that it adds to a build",
    "int8-speed": "images/s of INT8 compared with FP32 on OpenVINO, in one run",
    "int8-memory": "peak memory and images/s of calibrating SSD300-VGG16 on 500 images, compared with ONNX Runtime's",
    "host-decode": "milliseconds of decode: a small network in a crowd, and noise of 8732 boxes and 91 classes",
    "loop-efficiency": "the loop's FPS as a share of the bare engine's",
    "loop-cost": "the loop's FPS with tracking, JSON and metrics on as a share of the bare engine's, and p99 of age",
    "four-cameras": "four cameras at 30 FPS on one engine: each one's share, and how old frames are",
    "batches": "images/s of batches on the processor, compared with one image at a time",
    "peers-train": "AP50 on BCCD of ssd-edge, torchvision and Ultralytics, trained for the same time: 40 minutes",
    "replay": "recorded frames that are replayed to the last bit, and planted faults located in their stage: 3 minutes",
    "soak": "growth of memory, threads and handles of the loop over 100 000 frames with its outputs on: an hour",
    "train-speed": "images/s of training beside torchvision's own two models, which take turns: 15 minutes",
    "train-memory": "images/s of training with freed memory kept, compared with glibc's defaults; memory: 3 minutes",
    "swap": "bad engines that a running service refuses or rolls back, good ones in, and lost frames: 6 minutes",
    "web": "the loop's FPS with 200 slow clients on its page, as a share of that without them; memory",
    "tracking": "IDF1 on rendered conveyors with known objects, compared with public trackers; milliseconds a frame",
    "collect": "AP of a model retrained with 50 collected frames, less that with 50 random ones: half an hour",
    "label-lint": "planted label errors that check-data --model finds, on rendered parts and on BCCD: 40 minutes",
    "faults": "seconds until run recovers from faults of servers, networks, disks and signals: 6 minutes",
    "cases": "small inputs after public reports that are treated right; which are wrong, and why",
    "startup": "seconds of ssd-edge --help",
    "demo": "minutes and AP50 of ssd-edge demo",
}
"""Descriptions of the entries by name. Each entry is the module of that name, with underscores, and has
``measure() -> Figure``."""


def measure(name: str, retrain: bool = False) -> Figure:
    """Measure one figure now."""
    module = import_module(name.replace("-", "_"))
    try:
        figure: Figure = module.measure(retrain=True) if retrain and name == "bccd" else module.measure()
    except (FileNotFoundError, SsdEdgeError) as error:
        return Figure(name, None, "", "", False, {"not measured": str(error)})
    return figure


def main() -> int:
    """Print the figures asked for; exit code 1 if one misses its goal."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as ssd-edge itself does, for the same reason
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=ENTRIES, action="append", help="this figure; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the figures and stop")
    parser.add_argument("--table", action="store_true", help="print a Markdown table")
    parser.add_argument("--retrain", action="store_true", help="bccd: train the model first, not only evaluate it")
    arguments = parser.parse_args()
    if arguments.list:
        for name, about in ENTRIES.items():
            print(f"{name:20} {about}")
        return 0
    if arguments.table:
        print("| figure | measured | goal | met | beside it |\n|---|---|---|---|---|")
    missed, where = 0, instructions.kind(this_host())
    for name in arguments.only or ENTRIES:
        figure = measure(name, arguments.retrain)
        missed += not figure.met
        if arguments.table:
            shown = "not measured" if figure.value is None else f"{figure.value:.4g} {figure.unit}"
            met = "yes" if figure.met else "no"
            print(f"| {name} | {shown} | {figure.goal} | {met} | {figure.beside} |", flush=True)
        else:
            print(json.dumps({**asdict(figure), "instructions": where}), flush=True)
    if arguments.table:
        print(f"\nMeasured on: {where}.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
