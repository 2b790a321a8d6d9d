"""Read and write recipes as YAML; a wrong key or value is an error that names its file and line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast

import msgspec
import yaml  # type: ignore[import-untyped]

from ssd_edge.errors import ModelError
from ssd_edge.files import written_whole
from ssd_edge.parsing import shown
from ssd_edge.training.recipe import DEFAULTS, Recipe
from ssd_edge.yaml_files import parse_settings, read_text, sentence_on, where

Changes = Mapping[str, Any]
"""Values of a recipe by name, those of a group in a mapping of their own."""

_SHIPPED = resources.files("ssd_edge") / "recipes"
_ONE_OF_TWO = ("epochs", "iterations")


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with ssd-edge."""
    return sorted(file.name.removesuffix(".yaml") for file in _SHIPPED.iterdir() if file.name.endswith(".yaml"))


def read_recipe(source: str, base: Recipe = DEFAULTS) -> Recipe:
    """Read a recipe; what it does not name stays as in ``base``.

    Args:
        source: path of a YAML file, or a name of ``shipped_recipes``.
        base: gives the other values.

    Raises:
        ModelError: there is no such recipe, or a key or value of it is wrong.
    """
    path = Path(source)
    if source in shipped_recipes() and not path.is_file():
        return _parsed((_SHIPPED / f"{source}.yaml").read_text("utf-8"), source, base)
    absent = f"there is no recipe {source}: name a file, or one of {', '.join(shipped_recipes())}"
    return _parsed(read_text(path, "recipe", ModelError, absent), str(path), base)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write a complete recipe, which ``read_recipe`` reads again as the same.

    Raises:
        ModelError: the file cannot be written.
    """
    text = yaml.safe_dump(as_plain(recipe), sort_keys=False, allow_unicode=True)
    try:
        with written_whole(path) as partial:
            partial.write_text(text, "utf-8")
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}") from None


def as_plain(recipe: Recipe) -> dict[str, Any]:
    """Convert a recipe to dicts, lists and plain values."""
    return cast(dict[str, Any], msgspec.to_builtins(asdict(recipe)))


def parse_setting(setting: str) -> tuple[str, Any]:
    """Split ``optimiser.lr=0.01`` into name and value, which is read as YAML.

    Raises:
        ModelError: it has no ``=``, or its value is no YAML.
    """
    name, equals, value = setting.partition("=")
    if not (name and equals):
        raise ModelError(f"a setting must be written NAME=VALUE, such as optimiser.momentum=0.8, but got {setting!r}")
    try:
        return name, yaml.safe_load(value)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise ModelError(f"the value of {name} cannot be read: {shown(value)} is no YAML") from None


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn values by names joined with dots into changes of a recipe."""
    changes: dict[str, Any] = {}
    for name, value in values.items():
        for key in reversed(name.split(".")):
            value = {key: value}
        changes = _merged(changes, value)
    return changes


def changed(recipe: Recipe, changes: Changes, source: str = "", lines: Mapping[str, int] | None = None) -> Recipe:
    """Return a recipe with other values.

    Where ``changes`` name epochs and not iterations, or the reverse, the other becomes 0.

    Args:
        recipe: gives the values that stay.
        changes: the other values.
        source: what error sentences call their origin; empty for none.
        lines: line of each value, by names joined with dots.

    Raises:
        ModelError: there is no such setting, or a value is of another type or out of range.
    """
    lines = lines or {}
    for name in _unknown(changes, DEFAULTS):
        raise ModelError(f"{where(source, lines.get(name))}{_no_such_setting(name)}")
    given = [name for name in _ONE_OF_TWO if changes.get(name)]
    other = {name: 0 for name in _ONE_OF_TWO if given and name not in changes}
    merged = _merged(as_plain(recipe), {**other, **changes})
    try:
        # not strict: YAML 1.1, which PyYAML reads, takes 1e-3 for text
        return msgspec.convert(merged, Recipe, strict=False)
    except msgspec.ValidationError as error:
        raise ModelError(sentence_on(error, merged, Recipe, source, lines)) from None
    except ModelError as error:
        named = str(error).split(" ", 1)[0]
        line = next((line for name, line in lines.items() if name.rpartition(".")[2] == named), None)
        raise ModelError(f"{where(source, line)}{error}") from None


def _parsed(text: str, source: str, base: Recipe) -> Recipe:
    content, lines = parse_settings(text, source, "recipe", ModelError)
    return changed(base, content, source, lines)


def _unknown(changes: Changes, group: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names in ``changes`` that a group of settings does not have."""
    known = {one.name for one in fields(group)}
    for name, value in changes.items():
        if name not in known:
            yield f"{prefix}{name}"
        elif is_dataclass(inner := getattr(group, name)) and isinstance(value, Mapping):
            yield from _unknown(value, inner, f"{prefix}{name}.")


def _no_such_setting(name: str) -> str:
    """Say that there is no such setting, and which comes nearest: by its own name, wherever it stands."""
    all_names = [
        *_names(DEFAULTS),
        *(one.name for one in fields(DEFAULTS) if is_dataclass(getattr(DEFAULTS, one.name))),
    ]
    own = {one: one.rpartition(".")[2] for one in all_names}
    asked = name.rpartition(".")[2].lower()
    near = difflib.get_close_matches(name, all_names, 1, 0.75) or [
        one for one in all_names if own[one] in difflib.get_close_matches(asked, own.values(), 1, 0.6)
    ]
    advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(_names(DEFAULTS))}"
    return f"there is no setting {shown(name)}; {advice}"


def _names(group: Any, prefix: str = "") -> Iterator[str]:
    for one in fields(group):
        inner = getattr(group, one.name)
        if is_dataclass(inner):
            yield from _names(inner, f"{prefix}{one.name}.")
        else:
            yield f"{prefix}{one.name}"


def _merged(old: Changes, new: Changes) -> dict[str, Any]:
    """Return values with others put in their place, group by group."""
    return {
        **old,
        **{
            name: _merged(old[name], value)
            if isinstance(value, Mapping) and isinstance(old.get(name), Mapping)
            else value
            for name, value in new.items()
        },
    }
