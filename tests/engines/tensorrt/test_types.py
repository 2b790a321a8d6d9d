"""pyright finds everything of TensorRT that engines/tensorrt uses in ``tensorrt-stubs``, with these parameters.

The stubs are of 10.13 and know some types too narrowly (``Dims`` takes any sequence): arguments' types are left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

STUBS = ROOT / ".venv" / "tensorrt-stubs"
RULES = ("reportAttributeAccessIssue", "reportCallIssue", "reportIndexIssue", "reportReturnType")


def complaints(folder: Path, scratch: Path) -> list[str]:
    """List pyright's errors in a folder."""
    if not (STUBS / "basedpyright").is_dir():
        pytest.skip("pyright and tensorrt-stubs are not installed: make test installs them")
    settings = {
        "include": [str(folder)],
        "extraPaths": [str(STUBS), str(ROOT)],
        "typeCheckingMode": "off",
        "reportMissingModuleSource": False,
        **dict.fromkeys(RULES, "error"),
    }
    (scratch / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--project", str(scratch), "--pythonpath", sys.executable]
    done = subprocess.run(
        [*command, "--outputjson"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(STUBS)},
        timeout=120,
    )
    answer = json.loads(done.stdout)
    assert answer["summary"]["filesAnalyzed"] >= 5, done.stderr
    return [diagnostic["message"] for diagnostic in answer["generalDiagnostics"] if diagnostic["severity"] == "error"]


@pytest.mark.slow
def test_the_stubs_have_all_that_is_used(tmp_path):
    assert complaints(ROOT / "engines" / "tensorrt", tmp_path) == []


@pytest.mark.slow
def test_a_wrong_name_and_a_wrong_call_are_seen(tmp_path):
    planted = tmp_path / "trt"
    shutil.copytree(ROOT / "engines" / "tensorrt", planted, ignore=shutil.ignore_patterns("__pycache__"))
    for name, right, wrong in (
        ("dla.py", "config.can_run_on_DLA(layer)", "config.can_run_on_dla(layer)"),
        ("timing_cache.py", "config.set_timing_cache(cache, False)", "config.set_timing_cache(cache)"),
    ):
        text = (planted / name).read_text()
        assert right in text
        (planted / name).write_text(text.replace(right, wrong))
    messages = complaints(planted, tmp_path)
    assert any("can_run_on_dla" in message for message in messages)
    assert any("ignore_mismatch" in message for message in messages)
    assert len(messages) == 2
