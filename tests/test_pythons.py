"""The tests on other Pythons: which are found, and that what is missing or fails is said."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests import pythons
from tests.helpers import ROOT


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without any Python: its PATH and its pyenv are empty folders."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_none(machine):
    assert [pythons.interpreter(version) for version in pythons.VERSIONS] == [None] * 4


def test_the_one_on_the_path(machine):
    found = program(machine / "bin" / "python3.12", "echo 3.12")
    assert pythons.interpreter("3.12") == found
    assert pythons.interpreter("3.10") is None


@pytest.mark.parametrize("shim", ["exit 127", "echo 3.11"])
def test_the_newest_of_pyenv_where_the_one_on_the_path_is_none(machine, shim):
    program(machine / "bin" / "python3.12", shim)
    for release in ("3.12.9", "3.12.10", "3.12.1"):
        program(machine / "pyenv" / "versions" / release / "bin" / "python3.12", "echo 3.12")
    assert pythons.interpreter("3.12") == str(machine / "pyenv/versions/3.12.10/bin/python3.12")


def main(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["pythons", *map(str, arguments)])
    code = pythons.main()
    return code, capsys.readouterr().out.splitlines()


def test_missing_ones_are_named_and_no_failure(machine, monkeypatch, capsys):
    code, said = main(monkeypatch, capsys)
    assert code == 0
    assert said == [f"Python {version}: missing: neither on PATH nor among pyenv's" for version in pythons.VERSIONS]


def test_an_environment_that_cannot_be_made_is_a_failure(machine, monkeypatch, capsys):
    program(machine / "bin" / "python3.10", "test $1 = -c && echo 3.10")
    code, said = main(monkeypatch, capsys, "--into", machine)
    assert code == 1
    assert said[-4].startswith("Python 3.10: FAILED: could not be installed (-m venv ")


@pytest.mark.parametrize(("outcome", "code", "result"), [("exit 0", 0, "passed"), ("exit 3", 1, "FAILED")])
def test_tests_that_pass_or_fail(machine, monkeypatch, capsys, outcome, code, result):
    program(machine / "bin" / "python3.10", "echo 3.10")
    program(machine / "python3.10" / "bin" / "python", outcome)
    (machine / "python3.10" / ".installed").touch()
    found = main(monkeypatch, capsys, "--into", machine, "--only", "3.10")
    assert (found[0], found[1][-1]) == (code, f"Python 3.10: {result}")


def test_the_oldest_is_the_one_that_the_install_asks_for():
    (oldest,) = re.findall(r'^requires-python = ">=(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert pythons.VERSIONS[0] == oldest


TESTS = {
    "test_at_the_top.py": "import absent",
    "test_within.py": "def test_within():\n    import absent",
    "folder/conftest.py": "import absent",
    "folder/test_beside.py": "def test_beside(): pass",
    "test_else.py": "def test_else(): pass",
    "test_unknown.py": "def test_unknown():\n    import another",
}
PROGRAM = """
import sys
import pytest
from tests import without_torch
without_torch.ABSENT[:] = ["absent"]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", sys.argv[1], sys.argv[1]], [without_torch]))
"""


def test_what_needs_an_absent_package_is_skipped_and_nothing_else(tmp_path):
    for name, text in TESTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed, 3 skipped" in done.stdout
