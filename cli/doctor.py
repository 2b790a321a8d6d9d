"""``ssd-edge doctor``: what this machine has, and what it lacks."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.common import print_json, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from ssd_edge.engines.readiness import Obstacle, Readiness
    from ssd_edge.machine.finding import Finding, Remedy, State
    from ssd_edge.machine.host import Host

_MARKS: dict[State, str] = {"problem": "✗", "note": "!", "unknown": "?", "fine": ""}
_STYLES: dict[State, str] = {"problem": "red", "note": "yellow", "unknown": "yellow", "fine": ""}
"""Colours by state, worst first."""
_BLANK_LINE_BEFORE = {"libraries", "processor", "cameras", "disk", "Python"}
"""Sections that are printed after a blank line."""


def doctor(
    backend: Annotated[
        str, typer.Option("--backend", help="Check only this backend; exit code 2 if it cannot run here.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check this machine: GPU, driver, libraries, power mode, clocks, temperature, cameras, codecs, disk, packages.

    Lists problems first, each with the command that solves it; then which backends can run here, and why the others
    cannot. Changes nothing, and takes about three seconds at most. Exit code 0, even if there are problems.

    Next: ssd-edge build-engine HEADS.onnx --backend BACKEND
    """
    from ssd_edge.engines.readiness import readiness
    from ssd_edge.machine.examine import examine
    from ssd_edge.machine.host import this_host

    host = this_host()
    if backend:
        _check_backend(host, backend, as_json)
        return
    sections = examine(host)
    ready = readiness(host)
    if as_json:
        machine = {section: [finding.to_json() for finding in findings] for section, findings in sections.items()}
        print_json({"backends": {name: one.to_json() for name, one in ready.items()}, "machine": machine})
    else:
        from rich.console import Console

        if isinstance(sys.stdout, TextIOWrapper):  # a terminal that lacks ✗ shows a ?
            sys.stdout.reconfigure(errors="replace")
        show(Console(highlight=False), sections, ready)


def _check_backend(host: Host, name: str, as_json: bool) -> None:
    from ssd_edge.engines.readiness import READINESS, readiness
    from ssd_edge.errors import BackendError

    if name not in READINESS:
        raise BackendError(f"no backend is called {name!r}; there are {', '.join(READINESS)}")
    ready = readiness(host, {name: READINESS[name]})[name]
    if as_json:
        print_json({name: ready.to_json()})
    elif ready.runs:
        typer.echo(f"{name} can run here: {ready.runs_on}")
        for words, obstacle in _remarks(ready):
            typer.echo(f"{words}: {obstacle.remedy}")
    if not ready.runs:
        raise BackendError(f"{name} cannot run here: {ready.sentence()}")


def show(console: Console, sections: Mapping[str, Sequence[Finding]], ready: Mapping[str, Readiness]) -> None:
    """Print the problems, the backends, and the facts about the machine."""
    worst_first = list(_MARKS)
    bad = [finding for findings in sections.values() for finding in findings if finding.state != "fine"]
    _title(console, "What to do" if bad else "Nothing is wrong")
    for finding in sorted(bad, key=lambda finding: worst_first.index(finding.state)):
        _row(console, _MARKS[finding.state], finding.name, finding.value, _STYLES[finding.state])
        _remedy(console, finding.remedy)
    _title(console, "Backends")
    width = max(map(len, ready))
    for name, one in ready.items():
        if one.runs:
            _row(console, "✓", f"{name:{width}}", one.runs_on, "green")
        for words, obstacle in _remarks(one):
            _row(console, "!", f"{'':{width}}", words, "yellow")
            _remedy(console, obstacle.remedy)
        for number, obstacle in enumerate(one.obstacles):
            _row(console, "" if number else "✗", f"{'' if number else name:{width}}", obstacle.reason, "red")
            _remedy(console, obstacle.remedy)
    _title(console, "This machine")
    width = max(len(finding.name) for findings in sections.values() for finding in findings)
    for section, findings in sections.items():
        if section in _BLANK_LINE_BEFORE:
            console.print()
        for finding in findings:
            _row(console, _MARKS[finding.state], f"{finding.name:{width}}", finding.value, _STYLES[finding.state])
            if finding.state == "fine":
                _remedy(console, finding.remedy)


def _remarks(ready: Readiness) -> list[tuple[str, Obstacle]]:
    """What a backend that can run lacks for building, and what could be better, in words."""
    to_build = [(f"to build here: {obstacle.reason}", obstacle) for obstacle in ready.to_build]
    return [*to_build, *((note.reason, note) for note in ready.notes)]


def _title(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold")


def _remedy(console: Console, remedy: Remedy) -> None:
    """Print advice, then the command on one unbroken line that can be copied."""
    if remedy.advice:
        _row(console, "", "  →", remedy.advice, "")
    if remedy.command:
        console.print(f"      {remedy.command}", style="bold", markup=False, soft_wrap=True)


def _row(console: Console, mark: str, name: str, value: str, style: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 1, 0, 0))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(*(Text(printable(text), style) for text in (mark, name, value)))
    console.print(table)
