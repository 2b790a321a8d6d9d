"""What several commands share: progress bars on stderr, and JSON on stdout."""

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

    from ssd_edge.progress import Progress

NO_GAIN = 1.03
"""INT8 that is faster by less is not worth its loss: it lies within what a busy machine makes of one number."""


class NumberLists(TyperCommand):
    """A command whose options that may be repeated also take several numbers at once: ``--option 8.6 8.9``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click: each further number gets the option's name before it."""
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
    """Return the console that people read; stdout is for results."""
    from rich.console import Console

    return Console(stderr=True)


_bars: list[Bars] = []
"""The bars on the screen: at most one display, to which inner work adds its bar."""


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Show a bar with an ETA on stderr while the block runs; before the first call of what is yielded it only spins.

    Args:
        what: name of the work; a call with a stage shows that in its place.
    """
    with _display() as bars:
        task, shown = bars.add_task(what, total=None), what

        def show(done: int, total: int, stage: str = "") -> None:
            nonlocal shown
            if (stage or what) != shown:
                shown = stage or what
                bars.reset(task, description=shown)  # the ETA is that of the stage
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
        TextColumn("{task.description}"),
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
    """Name the extra that brings a package, if an import in the block does not find it.

    Args:
        extra: the extra of ssd-edge.
        purpose: what the package is for, as the subject of "needs".

    Raises:
        MissingDependencyError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        from ssd_edge.errors import MissingDependencyError

        raise MissingDependencyError(error.name or extra, extra, purpose) from None


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    typer.echo(json.dumps(value, indent=2))


def say(text: str, style: str = "") -> None:
    """A line for a person, on stderr."""
    from rich.text import Text

    stderr().print(Text(text, style), soft_wrap=True)


def how_fast(fp32: float, int8: float) -> tuple[str, str]:
    """What images/s of FP32 and INT8 heads on this CPU advise, and its colour."""
    factor = f"{int8 / fp32:.2f} times as fast as FP32 on this CPU ({int8:.0f} and {fp32:.0f} images/s)"
    if int8 < NO_GAIN * fp32:
        return f"INT8 is {factor}: build FP32 for it, and FP16 or INT8 for a GPU, as its benchmark says", "yellow"
    return f"INT8 is {factor}", ""
