"""Render HTML pages as single files without scripts or external resources, for light and dark screens and for print."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib.resources import files
from typing import Any

from ssd_edge import __version__
from ssd_edge.errors import MissingDependencyError


def render(package: str, name: str, purpose: str, filters: Mapping[str, Callable[[Any], str]], **values: Any) -> str:
    """Render a template that extends ``page.html``; values are escaped.

    Args:
        package: package that holds the template.
        name: the template's file name.
        purpose: what needs the page, for the error if Jinja is not installed.
        filters: filters that the template uses, by name; ``data_uri``, for JPEG data, is always there.
        values: values that the template shows, by name; ``made``, the time, and ``version`` are always there.

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
    environment.filters.update({"data_uri": _data_uri, **filters})
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(name).render(made=made, version=__version__, **values)


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + b64encode(jpeg).decode()
