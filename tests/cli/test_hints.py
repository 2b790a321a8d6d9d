"""Commands that the program's sentences recommend exist, with their options; ``test_parts`` runs some of them."""

from __future__ import annotations

import ast
import re
import shlex

import pytest
import typer.main

from ssd_edge.cli.main import app
from ssd_edge.hints import command
from tests.helpers import ROOT

COMMANDS = typer.main.get_command(app).commands
SOURCES = [path for name in ("ssd_edge", "cli", "calibration", "engines") for path in (ROOT / name).rglob("*.py")]


def text_of(node):
    """Return the text of a string or f-string, with … for each value; None for other nodes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


def recommended():
    """Find (command, options) in the strings of the source, and in calls of ``command``."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            for name, rest in re.findall(r"ssd-edge ([a-z]+(?:-[a-z]+)?)\b([^.;:,()`\n]*)", text_of(node) or ""):
                if name in COMMANDS or rest.lstrip().startswith("-"):
                    yield name, tuple(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "command":
                words = [text for argument in node.args if (text := text_of(argument)) is not None]
                if words:
                    yield words[0], tuple(word for word in words[1:] if word.startswith("-"))


def test_there_are_recommendations():
    names = {name for name, _ in recommended()}
    assert names >= {"calibrate", "build-engine", "check-data", "run", "eval", "export"}


@pytest.mark.parametrize(("name", "options"), sorted(set(recommended())))
def test_a_recommended_command_exists(name, options):
    assert name in COMMANDS
    known = {form for p in COMMANDS[name].params for form in (*p.opts, *p.secondary_opts)} | {"--help"}
    assert set(options) <= known


@pytest.mark.parametrize("path", ["plain.onnx", "my model.onnx", "it's.onnx", "a;b.onnx", "불량 1.onnx", "$HOME.onnx"])
def test_paths_are_quoted_for_a_shell(path):
    assert shlex.split(command("eval", path, "DATA", "--split", "val")) == [
        *("ssd-edge", "eval", path, "DATA", "--split", "val")
    ]
