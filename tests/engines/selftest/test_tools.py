"""Tools of the selftest: they get the right files, and a tool that saw no kernel run does not count as passed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from ssd_edge.engines.selftest import available, tools
from ssd_edge.engines.selftest.sections import FailedError, NotRunError, Setting
from ssd_edge.graph.heads import read_spec

# Runs the command after its own options, as compute-sanitizer does, and reports no errors.
SANITIZER = """#!/bin/sh
shift 4
"$@"
code=$?
echo "========= ERROR SUMMARY: 0 errors"
exit $code
"""


@pytest.fixture
def setting(heads_onnx: Path, tmp_path: Path, monkeypatch) -> Setting:
    """Heads and folder named from the current folder, as a user does."""
    monkeypatch.chdir(tmp_path)
    Path("parts.onnx").write_bytes(heads_onnx.read_bytes())
    Path("results").mkdir()
    closed = SimpleNamespace(close=lambda: None)
    return Setting(Path("parts.onnx"), None, read_spec(heads_onnx), [], Path("results"), lambda *what: closed)


def found_at(monkeypatch, tool: Path) -> None:
    tool.chmod(0o755)
    monkeypatch.setattr(tools.shutil, "which", lambda name: str(tool))


@pytest.mark.slow
def test_a_sanitizer_that_saw_no_kernel_has_not_passed(setting, tmp_path, monkeypatch):
    """Runs ssd-edge itself, in a child process without a GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(SANITIZER)
    found_at(monkeypatch, tool)
    with pytest.raises(NotRunError, match="the kernels did not run under it: it needs a GPU"):
        tools.sanitizer(setting)
    tool.write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "results" / "sanitizer-memcheck" / "selftest.json").unlink()
    with pytest.raises(FailedError, match="memcheck: the kernels did not run under it"):
        tools.sanitizer(setting)


@pytest.mark.parametrize(
    ("code", "status", "ends"),
    [
        (0, "passed", None),
        (9, "passed", "memcheck: ERROR SUMMARY: 2 errors"),
        (1, "failed", "memcheck: under it, off by one"),
    ],
)
def test_errors_that_a_sanitizer_reports(setting, tmp_path, monkeypatch, code, status, ends):
    tool = tmp_path / "compute-sanitizer"
    tool.touch()
    found_at(monkeypatch, tool)

    def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        results = Path(command[-1])
        results.mkdir(exist_ok=True)
        (results / "selftest.json").write_text(json.dumps({"sections": [{"status": status, "sentence": "off by one"}]}))
        return subprocess.CompletedProcess(command, code, f"ERROR SUMMARY: {2 if code else 0} errors\n", "")

    monkeypatch.setattr(tools, "_run", run)
    if ends is None:
        assert set(tools.sanitizer(setting)[1]) == {"memcheck", "racecheck", "initcheck", "synccheck"}
    else:
        with pytest.raises(FailedError, match=ends):
            tools.sanitizer(setting)


@pytest.mark.parametrize("package", ["pytest", "hypothesis", "onnx"])
def test_kernels_on_a_cpu_without_a_package_are_not_run(setting, monkeypatch, package):
    monkeypatch.setattr(tools, "find_spec", lambda name: None if name == package else name)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NotRunError, match=f"its tests need {package}, no-such-compiler, not installed here"):
        tools.emulated(setting)


def test_trtexec_is_given_a_plan_that_is_there(setting, tmp_path, monkeypatch):
    plan = SimpleNamespace(backend="tensorrt", files=("model.plan",))
    monkeypatch.setattr(tools, "read_manifest", lambda folder: SimpleNamespace(plans=[plan]))
    monkeypatch.setattr(available, "why_not", lambda backend: None)
    folder = tmp_path / "results" / "trtexec.engine"
    folder.mkdir()
    (folder / "model.plan").touch()
    tool = tmp_path / "trtexec"
    tool.write_text('#!/bin/sh\ntest -f "${1#--loadEngine=}" && echo "GPU Compute Time: min = 1 ms, median = 1.5 ms"\n')
    found_at(monkeypatch, tool)
    assert tools.trtexec(setting)[1] == {"GPU compute, median ms": 1.5}
    (folder / "model.plan").unlink()
    with pytest.raises(FailedError, match=r"trtexec failed on model\.plan"):
        tools.trtexec(setting)
