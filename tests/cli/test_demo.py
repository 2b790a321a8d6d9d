"""The demo from end to end, with few images: each step passes its result to the next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from ssd_edge.cli import demo
from ssd_edge.cli.main import app
from ssd_edge.graph.heads import read_spec
from ssd_edge.outputs.video import Video


@pytest.mark.slow
def test_demo_runs_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "IMAGES", 20)
    monkeypatch.setattr(demo, "EPOCHS", 2)
    monkeypatch.setattr(demo, "BENCHMARK_FRAMES", 10)
    folder, drawn = tmp_path / "demo", []

    class Watched(Video):
        def __init__(self, path: Path, labels: Sequence[str], fps: float | None = None) -> None:
            drawn.append(tuple(labels))
            super().__init__(path, labels, fps)

    monkeypatch.setattr("ssd_edge.outputs.video.Video", Watched)
    result = CliRunner().invoke(app, ["demo", "--output", str(folder), "--seconds", "1", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert set(report["ap50"]) == set(report["fps"]) == {"fp32", "int8"}
    assert min(report["fps"].values()) > 0
    assert report["run"]["processed"] > 0
    video = cv2.VideoCapture(str(folder / "run.mp4"))
    assert video.read()[0]
    assert drawn == [read_spec(folder / "parts.int8.onnx").labels]
    for made in ("parts.onnx", "parts.int8.onnx", "parts-fp32.engine", "parts-int8.engine", "train/model.pt"):
        assert (folder / made).exists()
