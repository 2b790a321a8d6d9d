"""One row of the table: a fault, what it cost, and whether the goal is met."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

GOAL = 2.0
"""Seconds after the end of a fault within which what was lost works again."""


@dataclass
class Row:
    """What was seen of one fault.

    Attributes:
        fault: what was done.
        lost: number of frames that were not shown, or not written where the fault is an output's.
        recovery: seconds from the end of the fault to the first whole new frame; None where nothing was interrupted.
        reported: the lines that ``ssd-edge run`` printed from the beginning of the fault on.
        wrong: what is against the goal, in sentences; empty if it is met.
        note: how the fault was made, where that is not plain; or why it was not.
        detail: other numbers.
        skipped: whether it could not be done here.
    """

    fault: str
    lost: int | None = None
    recovery: float | None = None
    reported: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    note: str = ""
    detail: dict[str, float | int | str] = field(default_factory=dict)
    skipped: bool = False

    def judge(self) -> None:
        """Compare the recovery with the goal."""
        if self.recovery is not None and self.recovery > GOAL:
            self.wrong.append(f"recovery took {self.recovery:.1f} s")

    @property
    def met(self) -> bool:
        """Whether the goal is met; a fault that could not be made is neither met nor missed."""
        return not self.wrong


Fault = Callable[[Path, Path], Row]
"""Function of an engine and an empty folder that makes a fault and tells what was seen."""


def skipped(fault: str, why: str) -> Row:
    """Return the row of a fault that cannot be made here."""
    return Row(fault, note=why, skipped=True)


def table(rows: list[Row]) -> Iterator[str]:
    """Write rows as lines of a Markdown table."""
    yield "| fault | frames lost | recovery | reported | goal met |"
    yield "|---|--:|--:|---|---|"
    for row in rows:
        yield line(row)


def line(row: Row) -> str:
    """Write one row."""
    lost = "–" if row.lost is None else str(row.lost)
    recovery = "–" if row.recovery is None else f"{row.recovery:.2f} s"
    reported = "; ".join(row.reported) or "nothing"
    met = f"not run: {row.note}" if row.skipped else "yes" if row.met else "**no**: " + "; ".join(row.wrong)
    name = row.fault if row.skipped or not row.note else f"{row.fault} ({row.note})"
    return f"| {name} | {lost} | {recovery} | {reported} | {met} |"
