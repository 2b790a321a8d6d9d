"""What a probe found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

State = Literal["fine", "note", "problem", "unknown"]
"""``note``: it works, and could be better; ``problem``: something will not work; ``unknown``: the probe failed."""


class Remedy(NamedTuple):
    """What to do; ``str`` of it follows a reason and a colon.

    Attributes:
        advice: in words; may be empty where there is a command.
        command: the line to run; empty where there is none.
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
        name: what was looked at.
        value: what was found, for people.
        state: whether something is to be done.
        remedy: what that is; of what is fine, the command that uses it, where that is not plain.
        facts: what was found, for scripts: plain values of JSON.
    """

    name: str
    value: str
    state: State = "fine"
    remedy: Remedy = NO_REMEDY
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json.dumps``."""
        return {
            "name": self.name,
            "value": self.value,
            "state": self.state,
            **self.remedy._asdict(),
            **self.facts,
        }
