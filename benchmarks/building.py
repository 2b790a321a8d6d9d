"""The networks that benchmarks begin with, and an engine, built by the commands that a user types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SSDLITE300 = Path(__file__).with_name("bccd_ssdlite300.pt")
"""An ``ssdlite300_mobilenet_v2`` trained on BCCD, at 300x300: always the same, so that figures stay comparable."""

BACKBONE = "weights/mobilenet_v2_imagenet/mobilenet_v2-b0353104.pth"
"""MobileNetV2 as ImageNet taught it, among the real data."""


def built(model: Path) -> Path:
    """Build an OpenVINO engine of a checkpoint beside it, and return it."""
    onnx = model.with_suffix(".onnx")
    for command in (["export", model, "--output", onnx], ["build-engine", onnx, "--backend", "openvino"]):
        program = [sys.executable, "-c", "from ssd_edge.cli.main import main; main()", *map(str, command)]
        subprocess.run(program, check=True, capture_output=True)
    return onnx.with_suffix(".engine")
