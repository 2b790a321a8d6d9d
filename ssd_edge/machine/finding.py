"""``Finding``, the result of a probe, and ``Remedy``, the advice that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

State = Literal["fine", "note", "problem", "unknown"]
"""``note``: it works, but could be better; ``problem``: something will not work; ``unknown``: the probe failed."""


class Remedy(NamedTuple):
    """Advice on what to do; ``str`` of it is written to follow a reason and a colon.

    Attributes:
        advice: advice in words; may be empty if there is a command.
        command: command line to run; may be empty.
    """

    advice: str = ""
    command: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in self if part)


NO_REMEDY = Remedy()


@dataclass(frozen=True)
class Finding:
    """A row of the report.

    Attributes:
        name: the thing that was examined.
        value: the result, for people.
        state: whether something should be done.
        remedy: what should be done; if all is fine, the command that uses the thing, where that is not obvious.
        facts: the result for scripts, as plain JSON values.
    """

    name: str
    value: str
    state: State = "fine"
    remedy: Remedy = NO_REMEDY
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for ``json.dumps``."""
        return {
            "name": self.name,
            "value": self.value,
            "state": self.state,
            **self.remedy._asdict(),
            **self.facts,
        }
