"""Play all commands of a page on a machine, and compare their outputs with what is expected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rehearsal.expected import for_command
from rehearsal.pages import Command, beside, commands, fits
from rehearsal.player import Player, Ran
from rehearsal.process import ROOT


@dataclass(frozen=True)
class Result:
    """What became of one command.

    Attributes:
        machine: title of the machine.
        command: the command.
        how: how it was played, see ``Ran``.
        wrong: what is wrong; "" if nothing is.
        unverified: what of it no record shows.
    """

    machine: str
    command: str
    how: str
    wrong: str = ""
    unverified: str = ""


def play(player: Player) -> Iterator[Result]:
    """Play the commands of the machine's page in their order."""
    page = (ROOT / player.machine.page).read_text()
    for command in commands(page):
        if command.only and command.only != player.machine.only:
            continue
        for part in command.parts:
            ran = player.play(part)
            wrong = "" if ran.how == "not run" else judged(part, command, player, ran, page)
            yield Result(player.machine.title, part, ran.how, wrong, ran.unverified)


def judged(part: str, command: Command, player: Player, ran: Ran, page: str) -> str:
    """Compare an output with what is expected; "" if it fits."""
    if ran.code != 0:
        return f"exit code {ran.code}: {last_line(ran.out)}"
    if re.search(r"^failed ", ran.out, re.MULTILINE):
        return next(line for line in ran.out.splitlines() if line.startswith("failed "))
    if command.answer and command.answer_for in {"", player.machine.only} and not fits(command.answer, ran.out):
        return f"the page answers {command.answer!r}, it says {last_line(ran.out)!r}"
    for expected in for_command(part, player.machine, player.name):
        for text in expected.says:
            if not fits(text, ran.out):
                return f"{text!r} is not in {last_line(ran.out)!r}"
            if expected.promised and not fits(text, page):
                return f"the page does not have {text!r}"
    return ""


def check_beside(player: Player) -> Iterator[Result]:
    """Check the commands within a page's sentences: the system's are answered, and ssd-edge's are parsed."""
    for line in dict.fromkeys(beside((ROOT / player.machine.page).read_text())):
        for part in line.split(" && "):
            if part.startswith(("ssd-edge", "python3")):
                yield Result(player.machine.title, part, "parsed", parsed(part))
            elif not part.startswith("pip"):
                ran = player.play(part)
                wrong = f"exit code {ran.code}: {last_line(ran.out)}" if ran.code else ""
                yield Result(player.machine.title, part, ran.how, wrong, ran.unverified)


def parsed(command: str) -> str:
    """Parse a line of ssd-edge without its arguments; "" if each option exists."""
    import shlex

    import typer.main

    from ssd_edge.cli.main import app

    words = shlex.split(command)
    if words[0] != "ssd-edge":
        return ""
    known = typer.main.get_command(app).commands.get(words[1])  # type: ignore[attr-defined]
    if known is None:
        return f"there is no command {words[1]}"
    options = {name for parameter in known.params for name in parameter.opts}
    wrong = [word for word in words[2:] if word.startswith("-") and word not in options]
    return f"there is no option {wrong[0]}" if wrong else ""


def last_line(text: str) -> str:
    """Return the last line of an output that is not empty."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it printed nothing"
