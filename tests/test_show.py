"""The script of the figures: every entry exists, and a figure that cannot be measured is reported, not passed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import figure
import pytest
import show

SCRIPT = Path(show.__file__)


@pytest.mark.parametrize("name", show.ENTRIES)
def test_every_entry_has_a_module_that_measures(name: str) -> None:
    assert callable(import_module(name.replace("-", "_")).measure)


def test_list_names_them_all() -> None:
    listed = subprocess.run([sys.executable, str(SCRIPT), "--list"], check=True, capture_output=True, text=True).stdout
    assert [line.split()[0] for line in listed.splitlines()] == list(show.ENTRIES)


@pytest.mark.slow
def test_only_one_prints_one_json_line() -> None:
    ran = subprocess.run([sys.executable, str(SCRIPT), "--only", "startup"], capture_output=True, text=True)
    (line,) = ran.stdout.splitlines()
    report = json.loads(line)
    assert set(report) == {"name", "value", "unit", "goal", "met", "detail", "beside", "instructions"}
    assert report["name"] == "startup"
    assert report["value"] > 0
    assert ran.returncode == (0 if report["met"] else 1)


def test_absent_data_is_a_figure_not_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "SHARED", tmp_path)
    report = show.measure("pedestrian")
    assert not report.met
    assert report.value is None
    assert "absent" in report.detail["not measured"]


def test_decode_is_measured_on_heads_that_hold_detections() -> None:
    report = import_module("host_decode").measure(runs=1)
    assert report.detail["trained"]["detections"] > 50
    assert report.detail["trained"]["cut by top-k"] == 0
    assert report.detail["8732 boxes, 91 classes, noise"]["cut by top-k"] > 0
    assert report.detail["1917 boxes, 4 classes"]["candidates"] > 700
    assert report.detail["1917 boxes, 4 classes"]["detections"] > 50
