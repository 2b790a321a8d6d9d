"""Privacy: no command sends anything, or leaves more in the user's home than ssd-edge's cache."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import COMPILER, ROOT
from tests.models_for_tests import TINY_DESCRIPTION, tiny_model

ALL = """
import json, sys
from ssd_edge.cli.main import main

for line in json.load(open("commands.json")):
    sys.argv = ["ssd-edge", *line]
    try:
        main()
    except SystemExit as end:
        print(json.dumps([line[0], end.code or 0]), flush=True)
"""


@pytest.fixture(scope="module")
def guard(tmp_path_factory) -> Path:
    """no_network.c as a library: it blocks and records sockets of Python and of native libraries."""
    if not sys.platform.startswith("linux") or shutil.which(COMPILER) is None:
        pytest.skip(f"the guard is built on Linux by {COMPILER}, which is not here")
    library = tmp_path_factory.mktemp("guard") / "no_network.so"
    source = Path(__file__).with_name("no_network.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-Wall", "-x", "c", source, "-o", library, "-ldl"], check=True)
    return library


def run_guarded(guard: Path, folder: Path, code: str) -> tuple[subprocess.CompletedProcess[str], str, list[str]]:
    """Run Python code, and all processes that it starts, in a folder, under the guard.

    Returns:
        The process; a line for each attempt to connect; the files in a home folder that was empty.
    """
    home, asked = folder / "home", folder / "asked"
    home.mkdir()
    environment = {
        **os.environ,
        "HOME": str(home),
        "ASKED": str(asked),
        "LD_PRELOAD": str(guard),
        "PYTHONPATH": str(ROOT),
    }
    # Some libraries do not report if they see that they run under tests; the program itself sets the last one.
    quiet = ("CI", "TF_BUILD", "JENKINS_URL", "PYTEST_CURRENT_TEST", "ORT_DISABLE_TELEMETRY")
    for name in (*quiet, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment)
    left = sorted(str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir())
    return done, asked.read_text() if asked.exists() else "", left


@pytest.mark.parametrize(
    "code",
    [
        "import urllib.request as u; u.urlopen('http://example.org')",
        "import urllib.request as u; u.urlopen('http://192.0.2.1')",
        "import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    ],
)
def test_the_guard_sees_python(guard, tmp_path, code):
    done, asked, left = run_guarded(guard, tmp_path, code)
    assert done.returncode == 1
    assert len(asked.splitlines()) >= 1
    assert left == []


@pytest.mark.slow
def test_the_guard_sees_reports_of_libraries(guard, heads_onnx, tmp_path):
    """OpenVINO in Python, ONNX Runtime in its own library: where neither does any more, this may go."""
    code = f"""
import openvino, onnxruntime, time
session = onnxruntime.InferenceSession({str(heads_onnx)!r})
time.sleep(1)
"""
    done, asked, left = run_guarded(guard, tmp_path, code)
    assert done.returncode == 0, done.stderr
    assert "google-analytics" in asked
    assert any(name.startswith("intel/") for name in left)
    assert any("onnxruntime" in name for name in left)


@pytest.mark.slow
def test_no_command_sends_anything(guard, heads_onnx, checkpoint, data, pictures, tmp_path):
    import onnx
    import torch

    from ssd_edge.models.registry import make_network, make_spec
    from ssd_edge.starts.ultraface import ULTRAFACE

    network = make_network(make_spec("ultraface_rfb320", ["face"]))
    weights = {ULTRAFACE.layouts[0].theirs(name): value for name, value in network.state_dict().items()}
    torch.save(weights, tmp_path / "faces.pth")
    onnx.save(tiny_model(), tmp_path / "theirs.onnx")
    (tmp_path / "theirs.json").write_text(json.dumps(TINY_DESCRIPTION))
    (tmp_path / "heads.onnx").write_bytes(heads_onnx.read_bytes())
    camera = ("--camera", pictures)
    commands = (
        ("check-data", data),
        ("train", data, "--output", "run", "--epochs", 1, "--batch-size", 4, "--workers", 1),
        ("compare", "run", "run", "--output", "compare.png"),
        ("export", checkpoint, "--output", "model.onnx"),
        ("import", "faces.pth", "--from", "ultraface", "--output", "faces.pt"),
        ("import-onnx", "theirs.onnx", "theirs.json", "--output", "imported.onnx"),
        ("build-engine", "imported.onnx", "--output", "imported.engine"),
        ("calibrate", "heads.onnx", data, "--force", "--output", "int8.onnx", "--report", "report.html"),
        ("check-onnx", "int8.onnx"),
        ("export-decode", "int8.onnx", "--output", "decode.onnx"),
        ("build-engine", "heads.onnx", "--output", "a.engine", "--backend", "openvino", "--backend", "onnxruntime"),
        ("inspect", "a.engine"),
        ("verify", "imported.engine"),
        ("eval", "a.engine", data),
        ("run", "a.engine", *camera, "--every-frame", "--no-window", "--save-json", "found.jsonl"),
        ("benchmark", "a.engine", "heads.onnx", *camera, "--frames", 10, "--warmup", 1, "--rounds", 1),
        ("doctor",),
        ("selftest", "heads.onnx", "--only", "cpu", "--quick", "--images", pictures, "--output", "selftest"),
    )
    (tmp_path / "commands.json").write_text(json.dumps([[*map(str, line)] for line in commands]))
    done, asked, left = run_guarded(guard, tmp_path, ALL)
    assert done.returncode == 0, done.stderr
    ended = [json.loads(line) for line in re.findall(r'^\["[\w-]+", \d+\]$', done.stdout, re.MULTILINE)]
    assert ended == [[name, 0] for name, *_ in commands], done.stderr
    assert asked == ""
    assert [name for name in left if not name.startswith(".cache/ssd-edge/")] == []
