"""Change zones and lines in a YAML file that a person wrote, and leave all else in it as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]

from ssd_edge.errors import WatchError

Place = Mapping[str, Any]
"""A zone or line as it stands in a watch file."""

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_ -]*[A-Za-z0-9]|[A-Za-z]")


def with_places(text: str, places: Mapping[str, Sequence[Place]], inside: Sequence[str] = ()) -> str:
    """Return a YAML file with other zones and lines.

    Comments and everything else stay, to the letter. A zone or line that is the same keeps its lines too; one that
    changed keeps the comments above it and loses those within; one that is gone takes its comments with it. Where
    ``inside`` leads to nothing yet, the watch is written behind the settings beside which it is to stand.

    Args:
        text: the file.
        places: ``zones`` and ``lines``, each with all that there are to be.
        inside: keys that lead to the watch, where it is a part of another file.

    Raises:
        WatchError: the file is written in a way in which they cannot be replaced, such as by aliases.
    """
    new, before = text, yaml.safe_load(text)
    old = _at(before, inside)
    is_new = old is None and isinstance(_at(before, inside[:-1]), dict)
    if not (is_new or isinstance(old, dict)):
        raise WatchError(f"there are no settings to change at {'.'.join(inside) or 'the top of the file'}")
    changed = {key: [dict(one) for one in ones] for key, ones in places.items() if ones or key in (old or {})}
    wanted = None if is_new and not changed else {**(old or {}), **changed}
    try:
        if is_new:
            new = _with_watch(text, inside, changed)
        else:
            for key, ones in places.items():
                new = _with_list(new, inside, key, ones)
        content = yaml.safe_load(new)
        same = _at(content, inside) == wanted and _without(content, inside) == _without(before, inside)
    except yaml.YAMLError:
        same = False
    if not same:
        raise WatchError(
            "zones and lines cannot be changed in a file written like this: write zones: and lines: as lists of "
            "settings, without aliases"
        )
    return new


def _at(content: Any, inside: Sequence[str]) -> Any:
    for key in inside:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _without(content: Any, inside: Sequence[str]) -> Any:
    if not inside:
        return None
    first, *rest = inside
    return {**content, first: _without(content.get(first), rest)}


def _settings(text: str, inside: Sequence[str]) -> yaml.MappingNode:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for step in inside:
        node = _value(node, step)
    if not isinstance(node, yaml.MappingNode):
        raise WatchError("zones and lines are settings by name")
    return node


def _with_watch(text: str, inside: Sequence[str], places: Mapping[str, Sequence[Place]]) -> str:
    """Write a watch where there is none, or an empty one."""
    if not places:
        return text
    node, key = _settings(text, inside[:-1]), inside[-1]
    value = _value(node, key)
    if node.flow_style:
        return _with_flow(text, node, key, value, json.dumps(places, ensure_ascii=False))
    column = int(node.start_mark.column)
    lines = "".join(listed(name, ones, column + 2) for name, ones in places.items())
    if value is None:
        at, lines = _line_end(text, _end(node)), f"{' ' * column}{key}:\n{lines}"
    else:  # nothing, null or ~
        text = text[: value.start_mark.index] + text[value.end_mark.index :]
        at = _line_end(text, value.start_mark.index)
    return f"{_ended(text[:at])}{lines}{text[at:]}"


def _with_list(text: str, inside: Sequence[str], key: str, ones: Sequence[Place]) -> str:
    node = _settings(text, inside)
    value = _value(node, key)
    if node.flow_style:
        if value is None and not ones:
            return text
        return _with_flow(text, node, key, value, json.dumps([dict(one) for one in ones], ensure_ascii=False))
    if value is None:
        return _appended(text, node, key, ones)
    if isinstance(value, yaml.SequenceNode) and not value.flow_style and ones:
        return _with_items(text, value, ones)
    start, end = value.start_mark.index, _end(value)
    plain = json.dumps([dict(one) for one in ones], ensure_ascii=False)
    if isinstance(value, yaml.SequenceNode) and not value.flow_style:
        key_node = next(name for name, _ in node.value if name.value == key)
        start = key_node.end_mark.index + 1
    return f"{text[:start]}{' ' if text[:start].endswith(':') else ''}{plain}{text[end:]}"


def _value(node: yaml.Node, key: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _end(node: yaml.Node) -> int:
    """Return where a node's text ends; PyYAML counts the comments after a block as its own."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, yaml.MappingNode) else last)


def _line_end(text: str, index: int) -> int:
    """Return where the line that holds a character ends, behind its line break."""
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _with_flow(text: str, node: yaml.MappingNode, key: str, value: yaml.Node | None, plain: str) -> str:
    if value is not None:
        space = " " * text[: value.start_mark.index].endswith(":")
        return f"{text[: value.start_mark.index]}{space}{plain}{text[value.end_mark.index :]}"
    at = node.end_mark.index - 1  # the closing bracket
    return f"{text[:at].rstrip()}{', ' if node.value else ''}{key}: {plain}{text[at:]}"


def _appended(text: str, node: yaml.MappingNode, key: str, ones: Sequence[Place]) -> str:
    if not ones:
        return text
    at = _line_end(text, _end(node))
    return f"{_ended(text[:at])}{listed(key, ones, int(node.start_mark.column))}{text[at:]}"


def listed(key: str, ones: Sequence[Place], column: int = 0) -> str:
    """Write zones or lines as the lines of a YAML file, with the key in a column."""
    return f"{' ' * column}{key}:\n{''.join(_lines(one, column + 2) for one in ones)}"


def _with_items(text: str, value: yaml.SequenceNode, ones: Sequence[Place]) -> str:
    """Replace the items of a block list; an item's lines begin behind the last item's."""
    column = int(value.start_mark.column)
    first = text.rfind("\n", 0, value.start_mark.index) + 1
    # Comments between the key and the first item belong to that item.
    lines_before = text[:first].splitlines(keepends=True)
    while lines_before and lines_before[-1].lstrip().startswith("#"):
        first -= len(lines_before.pop())
    old: dict[str, tuple[Any, str, str]] = {}
    begin = first
    for node in value.value:
        end = _line_end(text, _end(node))
        lines = text[begin:end]
        dash = text.rfind("\n", 0, node.start_mark.index) + 1
        content = yaml.safe_load(yaml.serialize(node))
        if isinstance(content, dict):
            old[str(content.get("name"))] = content, lines, text[begin:dash]
        begin = end
    parts = []
    for one in ones:
        content, lines, comments = old.get(str(one.get("name")), (None, "", ""))
        parts.append(_ended(lines) if content == dict(one) else comments + _lines(one, column))
    return f"{text[:first]}{''.join(parts)}{text[begin:]}"


def _ended(lines: str) -> str:
    return lines if lines.endswith("\n") else f"{lines}\n"


def _lines(one: Place, column: int) -> str:
    """Write an item of a block list, with its dash in a column."""
    said = [f"{key}: {_scalar(value)}\n" for key, value in one.items()]
    return "".join(f"{' ' * column}{'  ' if number else '- '}{line}" for number, line in enumerate(said))


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
