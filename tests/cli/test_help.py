"""Help: every command explains itself and names the next command."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import typer

from ssd_edge import __version__
from ssd_edge.cli.main import app

PRINTING = {"typer", "click", "shellingham", "annotated_doc", "typing_extensions"}
PRINTING |= {"rich", "markdown_it", "mdurl", "pygments", "attr"}
"""Typer, and what it imports; ``attr`` because rich looks for it."""

COMMANDS = {command.name: command.callback for command in app.registered_commands}

NEXT = {
    "check-data": "ssd-edge train",
    "train": "ssd-edge export",
    "compare": "ssd-edge eval",
    "import": "ssd-edge eval",
    "import-onnx": "ssd-edge eval",
    "export": "ssd-edge calibrate",
    "calibrate": "ssd-edge build-engine",
    "check-onnx": "ssd-edge calibrate",
    "build-engine": "ssd-edge run",
    "export-decode": "trtexec --onnx",
    "export-deploy": "what README.md in the folder says",
    "inspect": "ssd-edge run",
    "eval": "ssd-edge calibrate",
    "run": "ssd-edge benchmark",
    "collect": "ssd-edge check-data",
    "replay": "ssd-edge replay FOLDER",
    "service": "journalctl -u ssd-edge",
    "swap": "ssd-edge swap --status",
    "benchmark": "ssd-edge run",
    "demo": "ssd-edge check-data",
    "doctor": "ssd-edge build-engine",
    "cameras": "ssd-edge run",
    "verify": "ssd-edge run",
    "selftest": "send the folder along",
}


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")


def words(text):
    """Remove rich's frames and line breaks from a text."""
    return " ".join(text.replace("│", " ").split())


def test_these_are_all_commands():
    assert set(COMMANDS) == set(NEXT)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEXT)
def test_a_command_explains_itself(cli, name):
    done = cli(name, "--help")
    assert (done.code, done.err) == (0, "")
    text = words(done.out)
    first = words(inspect.getdoc(COMMANDS[name]).split("\n\n")[0])
    assert len(first) > 20
    assert first in text
    assert text.count("--help") == 1
    assert cli(name, "-h").out == done.out


@pytest.mark.parametrize("name", NEXT)
def test_a_command_names_the_next_command(cli, name):
    text = words(cli(name, "--help").out)
    assert f"Next: {NEXT[name]}" in text


@pytest.mark.parametrize("name", NEXT)
def test_every_parameter_has_help(name):
    command = typer.main.get_command(app).commands[name]
    for parameter in command.params:
        if parameter.name != "help":
            assert parameter.help, f"{name}: {parameter.name}"
            assert parameter.help.endswith((".", ")", "…"))


@pytest.mark.parametrize("name", sorted(set(NEXT) - {"run"}))
def test_json_is_offered(cli, name):
    assert "--json" in cli(name, "--help").out


def test_the_programs_help_lists_the_steps(cli):
    done = cli("--help")
    assert done.code == 0
    text = words(done.out)
    assert "check-data, train, export, calibrate, build-engine, run" in text
    for name in NEXT:
        assert f" {name} " in text


def test_the_version(cli):
    assert cli("--version") == (0, f"ssd-edge {__version__}\n", "")


def test_without_a_command_the_program_prints_help(cli):
    done = cli()
    assert done.code == 2
    assert "Usage: ssd-edge" in done.out


def test_help_loads_no_package_but_those_that_print_it():
    """That is what keeps it fast; ``benchmarks/startup.py`` measures how fast."""
    program = """
import sys
from ssd_edge.cli.main import main
try:
    main()
finally:
    files = {name.split(".")[0]: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
    print(*[name for name, file in files.items() if "site-packages" in file], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, check=True, text=True)
    loaded = {name for name in done.stderr.split() if not name.startswith("_")}
    assert "typer" in loaded
    assert loaded <= PRINTING
