"""How a long piece of work tells how far it is, and what happened on the way: one type for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Called while work goes on, from the thread that does it."""

    def __call__(self, done: int, total: int, stage: str = "") -> None:
        """Show how far the work is.

        Args:
            done: steps done.
            total: steps in all; 0 if that is not known.
            stage: name of the present part of the work, in words for people; empty where there is only one.
        """


Note = Callable[[str], None]
"""Called with one sentence for a person, such as why an image is left out."""


def no_progress(done: int, total: int, stage: str = "") -> None:
    """Show nothing."""


def no_note(sentence: str) -> None:
    """Say nothing."""


def named(progress: Progress, stage: str) -> Progress:
    """Return a progress that names the stage, for work that does not name it itself."""
    return lambda done, total, inner="": progress(done, total, inner or stage)


def part(progress: Progress, first: int, total: int) -> Progress:
    """Return a progress for a part of a longer work: it counts from ``first``, of ``total``."""
    return lambda done, _, stage="": progress(first + done, total, stage)
