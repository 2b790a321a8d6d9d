"""What several commands share: progress bars on stderr, and JSON on stdout."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from rich.console import Console

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


def stderr() -> Console:
    """Where people read; stdout is for results."""
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with an ETA on stderr; call what is yielded with (done, total). Before the first call it only spins."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = stderr()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


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
