"""Secrets from the environment: ``${NAME}`` in a file stands for a variable, so that the file holds no password."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def variables_in(content: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the variables that plain values name, each with the place of the value that names it."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from variables_in(value, f"{place}.{key}" if place else f"{key}")
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from variables_in(value, f"{place}[{index}]")
    elif isinstance(content, str):
        yield from ((found[2], place) for found in _VARIABLE.finditer(content) if found[2])


def filled_in(content: Any, environment: Mapping[str, str]) -> Any:
    """Return plain values with each ``${NAME}`` replaced; ``$${NAME}`` stands for ``${NAME}`` itself.

    Names of settings stay as they are, and what a variable holds is taken as it is.

    Raises:
        KeyError: there is no such variable.
    """
    if isinstance(content, Mapping):
        return {key: filled_in(value, environment) for key, value in content.items()}
    if isinstance(content, list):
        return [filled_in(value, environment) for value in content]
    if isinstance(content, str):
        return _VARIABLE.sub(lambda found: found[1] or environment[found[2]], content)
    return content
