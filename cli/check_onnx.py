"""``ssd-edge check-onnx``: what keeps a network from running in INT8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssd_edge.cli.common import needs, print_json, printable

if TYPE_CHECKING:
    from ssd_edge.calibration.lint.check import LintReport

_STYLES = {"error": "red", "warning": "yellow", "note": ""}
_SHOWN = 20


def check_onnx(
    onnx: Annotated[
        Path, typer.Argument(help="ONNX file to check: FP32, or INT8 made by any tool.", show_default=False)
    ],
    show_all: Annotated[bool, typer.Option("--all", help=f"List all notes, not only the first {_SHOWN}.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check an ONNX file for problems with INT8, and say how to solve them.

    Errors: NVIDIA's parser refuses the file, or a runtime computes something other than what it says. Warnings: a
    Q/DQ pair, or a missing one, prevents a fusion. Notes: convolutions that stay in float. For an FP32 file, it lists
    which convolutions ssd-edge calibrate would make INT8.

    Exit code 0: no errors or warnings; 1: there are some; 2: the file cannot be read.

    Next: ssd-edge calibrate HEADS.onnx DATA, or ssd-edge build-engine NAME.int8.onnx
    """
    with needs("calibrate", "check-onnx"):
        from ssd_edge.calibration.lint.check import check_onnx as check
    report = check(onnx)
    if as_json:
        print_json({"onnx": str(onnx), **report.to_json()})
    else:
        _show(onnx, report, show_all)
    if report.count("error") or report.count("warning"):
        raise typer.Exit(1)


def _show(onnx: Path, report: LintReport, show_all: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()

    def say(line: str, style: str = "") -> None:
        console.print(Text(printable(line), style), soft_wrap=True)

    say(f"{onnx}: {report.form}, {report.int8} of {report.convolutions} convolutions in INT8", "bold")
    if report.would_be_int8:
        say(f"ssd-edge calibrate would make {len(report.would_be_int8)} of them INT8")
    notes = 0
    for finding in report.findings:
        notes += finding.gravity == "note"
        if show_all or finding.gravity != "note" or notes <= _SHOWN:
            say(f"{finding.gravity}: {finding.sentence}", _STYLES[finding.gravity])
    if notes > _SHOWN and not show_all:
        say(f"… and {notes - _SHOWN} more notes: add --all to list them")
    counts = {gravity: report.count(gravity) for gravity in _STYLES}
    counted = [f"{number} {gravity}{'s' if number > 1 else ''}" for gravity, number in counts.items() if number]
    say(", ".join(counted) or "nothing found", "" if counted else "green")
