"""Shared by the commands: progress bars and sentences on stderr, JSON on stdout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.text import Text

    from ssd_edge.progress import Progress

NO_GAIN = 1.03
"""Smallest speed-up of INT8 that is worth its loss of AP; a smaller one could be noise of a busy machine."""


class NumberLists(TyperCommand):
    """A command whose repeatable options also accept several numbers at once: ``--option 8.6 8.9``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the option's name before each further number, then parse as click does."""
        names = {name for parameter in self.params if getattr(parameter, "multiple", False) for name in parameter.opts}
        spelled: list[str] = []
        option, values = "", 0
        for argument in args:
            if argument in names:
                option, values = argument, 0
            elif option and (values == 0 or re.fullmatch(r"\d+\.\d+,?", argument)):
                spelled += [option] * (values > 0)
                values += 1
            else:
                option = ""
            spelled.append(argument)
        return super().parse_args(ctx, spelled)


@cache
def stderr() -> Console:
    """Return the console for messages to people; results go to stdout."""
    from rich.console import Console

    return Console(stderr=True)


_bars: list[Bars] = []
"""The display on the screen, if any: nested work adds its bar to it."""


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Show a progress bar with an ETA on stderr while the block runs; it spins until progress is first reported.

    Args:
        what: name of the work; a reported stage replaces it.
    """
    with _display() as bars:
        task, shown = bars.add_task(what, total=None), what

        def show(done: int, total: int, stage: str = "") -> None:
            nonlocal shown
            if (stage or what) != shown:
                shown = stage or what
                bars.reset(task, description=shown)  # restarts the clock of the ETA
            bars.update(task, completed=done, total=total or None)

        yield show
        bars.remove_task(task)


@contextmanager
def _display() -> Iterator[Bars]:
    if _bars:
        yield _bars[-1]
        return
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = stderr()
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        _bars.append(bars)
        try:
            yield bars
        finally:
            _bars.pop()


@contextmanager
def needs(extra: str, purpose: str) -> Iterator[None]:
    """Turn a failed import in the block into an error that names the extra to install.

    Args:
        extra: the extra of ssd-edge that installs the package.
        purpose: what needs the package; the subject of the sentence.

    Raises:
        MissingDependencyError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        from ssd_edge.errors import MissingDependencyError

        raise MissingDependencyError(error.name or extra, extra, purpose) from None


def printable(text: str) -> str:
    """Replace what would control the terminal: names come from strangers' files."""
    return "".join(c if c.isprintable() else "�" for c in text)


def cell(text: object) -> Text:
    """A name from a file as a table's cell, title or heading: rich takes plain text with [brackets] for markup."""
    from rich.text import Text

    return Text(printable(str(text)))


def was_given(context: typer.Context, option: str) -> bool:
    """Tell whether the user gave an option, by the name of its parameter."""
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2))


def say(text: str, style: str = "") -> None:
    """Print a line for people on stderr."""
    from rich.text import Text

    stderr().print(Text(printable(text), style), soft_wrap=True)


def how_fast(fp32: float, int8: float) -> tuple[str, str]:
    """Compare images/s of FP32 and INT8 heads on this CPU: a sentence with advice, and its colour."""
    factor = f"{int8 / fp32:.2f} times as fast as FP32 on this CPU ({int8:.0f} and {fp32:.0f} images/s)"
    if int8 < NO_GAIN * fp32:
        return f"INT8 is {factor}: build FP32 for it; for a GPU, benchmark FP16 and INT8 there", "yellow"
    return f"INT8 is {factor}", ""
