"""Pages for people as one HTML file: nothing is loaded from elsewhere, no script, light and dark, and fit to print."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from ssd_edge.errors import MissingDependencyError


def render(package: str, name: str, purpose: str, filters: Mapping[str, Callable[[Any], str]], **values: Any) -> str:
    """The HTML of a template that extends ``page.html``; values are escaped.

    Args:
        package: that holds the template.
        name: of its file.
        purpose: of the page, for the sentence where Jinja is not installed.
        filters: that the template uses.
        values: that it shows.

    Raises:
        MissingDependencyError: Jinja is not installed.
    """
    try:
        from jinja2 import DictLoader, Environment, StrictUndefined
    except ModuleNotFoundError:
        raise MissingDependencyError("jinja2", "calibrate", purpose) from None

    places = {"page.html": "ssd_edge", name: package}
    texts = {file: files(place).joinpath(file).read_text(encoding="utf-8") for file, place in places.items()}
    environment = Environment(
        loader=DictLoader(texts), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    return environment.get_template(name).render(**values)
