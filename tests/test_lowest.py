"""The tests with the lowest versions: which versions those are, and that what is missing or fails is said."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests import lowest
from tests.helpers import ROOT
from tests.test_installs import UNREACHABLE

PROJECT = """
[project]
dependencies = [
  "numpy>=1.26",
  "rich>=13.8 ; python_version < '4'",
]
[project.optional-dependencies]
calibrate = ["jinja2>=3.1", "onnx>=1.17"]
train = ["torch>=2.8"]
"""


def test_the_packages_that_the_project_names(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    packages = ["mdurl==0.1.2", "numpy==1.26.0", "onnx==1.17.0", "rich==13.8.0", "torch==2.8.0"]
    assert lowest.direct(packages, tmp_path / "pyproject.toml") == ["numpy==1.26.0", "onnx==1.17.0", "rich==13.8.0"]
    assert lowest.direct([], tmp_path / "pyproject.toml") == []


@pytest.mark.slow
def test_a_bound_can_be_installed():
    """A bound below what another dependency asks for would say what nobody can have, and nobody has tested."""
    uv = lowest.find_uv()
    if uv is None:
        pytest.skip("uv is not installed: make test-lowest installs it into .venv/uv")
    try:
        resolved = dict(package.split("==") for package in lowest.direct(lowest.lowest(uv)))
    except subprocess.CalledProcessError as error:
        if re.search(UNREACHABLE, error.stderr):
            pytest.skip(f"no package index is reachable: {error.stderr.strip().splitlines()[0]}")
        raise
    text = (ROOT / "pyproject.toml").read_text()
    base = text.split("\ndependencies = [")[1].split("]")[0]
    bounds = dict(re.findall(r'"([\w-]+)>=([\d.]+)', base))
    assert len(bounds) >= 10
    for name, bound in bounds.items():
        assert f"{resolved[name]}.".startswith(f"{bound}."), name


def main(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["lowest", *map(str, arguments)])
    code = lowest.main()
    return code, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("lacking", "named"), [("find_uv", "uv"), ("interpreter", "Python 3.10")])
def test_what_is_missing_is_named(monkeypatch, capsys, lacking, named):
    monkeypatch.setattr(lowest, "find_uv", lambda: "uv")
    monkeypatch.setattr(lowest, "interpreter", lambda version: "python")
    monkeypatch.setattr(lowest, lacking, lambda *_: None)
    code, (said,) = main(monkeypatch, capsys)
    assert code == 2
    assert said.startswith(f"missing: {named}")


def test_versions_that_cannot_be_installed_are_a_failure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lowest, "find_uv", lambda: "false")
    monkeypatch.setattr(lowest, "interpreter", lambda version: sys.executable)
    code, (said,) = main(monkeypatch, capsys, "--into", tmp_path / "environment")
    assert (code, said) == (1, "the lowest versions could not be installed (pip compile)")


@pytest.mark.parametrize(("passes", "code", "result"), [(True, 0, "passed"), (False, 1, "FAILED")])
def test_tests_that_pass_or_fail(tmp_path, monkeypatch, capsys, passes, code, result):
    (tmp_path / ".installed").write_text("mdurl==0.1.2\nnumpy==1.26.0")
    monkeypatch.setattr(lowest, "find_uv", lambda: "uv")
    monkeypatch.setattr(lowest, "interpreter", lambda version: "python")
    monkeypatch.setattr(lowest, "run", lambda python, tests, plugin: passes)
    assert main(monkeypatch, capsys, "--into", tmp_path) == (
        code,
        [f"lowest versions: {result}: Python 3.10, numpy==1.26.0"],
    )
