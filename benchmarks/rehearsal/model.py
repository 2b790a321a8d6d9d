"""The model of the plays: a small network that finds bright cells, its INT8 heads, and pictures of such cells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rehearsal.process import ROOT

PICTURES = 40
SIZE = (640, 480)


def write_model(folder: Path) -> None:
    """Write parts.onnx, parts.int8.onnx (by ``ssd-edge calibrate``) and photos/.

    Raises:
        FileNotFoundError: the heads could not be calibrated.
    """
    import cv2
    import numpy as np

    from ssd_edge.engines.proof.prove import keep_proof
    from ssd_edge.graph.heads import add_proof, write_heads
    from tests.helpers import small_spec
    from tests.models_for_tests import marks_model, marks_scene

    photos, rng, frames = folder / "photos", np.random.default_rng(0), []
    photos.mkdir()
    for number in range(PICTURES):
        marks = zip(rng.integers(0, 4, 3), rng.integers(0, 4, 3), rng.choice([0, 2], 3), strict=True)
        scene = marks_scene(*((int(row), int(column), int(channel)) for row, column, channel in marks))
        frames.append(cv2.resize(scene, SIZE, interpolation=cv2.INTER_NEAREST))
        cv2.imwrite(str(photos / f"{number:02d}.png"), frames[-1])
    heads = folder / "parts.onnx"
    write_heads(marks_model(), small_spec(), heads)
    add_proof(heads, keep_proof(heads, frames))
    code = "from ssd_edge.cli.main import main; main()"
    command = [sys.executable, "-c", code, "calibrate", "parts.onnx", "--images", "photos", "--no-eval"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FileNotFoundError(f"the model could not be calibrated: {done.stderr.strip().splitlines()[-1]}")
