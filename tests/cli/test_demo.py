"""The demo from end to end, with few images: each step passes its result to the next."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from ssd_edge.cli import demo
from ssd_edge.cli.main import app


@pytest.mark.slow
def test_demo_runs_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "IMAGES", 20)
    monkeypatch.setattr(demo, "EPOCHS", 2)
    monkeypatch.setattr(demo, "BENCHMARK_FRAMES", 10)
    folder = tmp_path / "demo"
    result = CliRunner().invoke(app, ["demo", "--output", str(folder), "--seconds", "1", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert set(report["ap50"]) == set(report["fps"]) == {"fp32", "int8"}
    assert min(report["fps"].values()) > 0
    assert report["run"]["processed"] > 0
    video = cv2.VideoCapture(str(folder / "run.mp4"))
    assert video.read()[0]
    for made in ("parts.onnx", "parts.int8.onnx", "parts-fp32.engine", "parts-int8.engine", "train/model.pt"):
        assert (folder / made).exists()
