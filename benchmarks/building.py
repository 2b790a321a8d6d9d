"""Build the engine that a benchmark runs, by the commands that a user types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def built(model: Path) -> Path:
    """Build an OpenVINO engine of a checkpoint beside it, and return it."""
    onnx = model.with_suffix(".onnx")
    for command in (["export", model, "--output", onnx], ["build-engine", onnx, "--backend", "openvino"]):
        program = [sys.executable, "-c", "from ssd_edge.cli.main import main; main()", *map(str, command)]
        subprocess.run(program, check=True, capture_output=True)
    return onnx.with_suffix(".engine")
