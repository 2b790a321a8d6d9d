"""What a user chooses by name: the dict from which the program finds it and makes its help text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Choice:
    """One entry of such a dict; nothing is imported until it is chosen.

    Attributes:
        about: what it is, in words that follow its name in a help text.
        place: a module, or ``module:attribute``.
    """

    about: str
    place: str

    def load(self) -> Any:
        """Import what was chosen.

        Raises:
            ModuleNotFoundError: a package that it needs is not installed.
        """
        name, _, attribute = self.place.partition(":")
        module = import_module(name)
        return getattr(module, attribute) if attribute else module


def help_of(choices: Mapping[str, Choice], default: str = "") -> str:
    """Return a help text that lists the choices: "mse (least square error; the default), entropy (…)"."""
    return ", ".join(
        f"{name} ({choice.about}{'; the default' if name == default else ''})" for name, choice in choices.items()
    )
