"""Read YAML files that people write, so that an error names the file, the line and the nearest known word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml  # type: ignore[import-untyped]

from ssd_edge.errors import SsdEdgeError
from ssd_edge.parsing import shown

Lines = Mapping[str, int]
"""Line of each value, counted from 1, by its place: names joined with dots, and indices such as ``zones[0].name``."""

_AT = re.compile(r"^(?P<what>.*?) - at `\$\.?(?P<place>.*)`$")


def read_text(path: Path, kind: str, error: type[SsdEdgeError], absent: str = "") -> str:
    """Read a text file.

    Args:
        path: the file.
        kind: what the file is, for errors, such as "recipe".
        error: class of the errors that are raised.
        absent: the error sentence if there is no such file, if another is wanted.

    Raises:
        error: there is no such file, or it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except FileNotFoundError as failed:
        raise error(absent or f"cannot read the {kind} {path}: {failed.strerror}") from None
    except UnicodeDecodeError:
        raise error(f"the {kind} {path} is not text in UTF-8") from None
    except OSError as failed:
        raise error(f"cannot read the {kind} {path}: {failed.strerror or failed}") from None


def parse_settings(text: str, source: str, kind: str, error: type[SsdEdgeError]) -> tuple[dict[str, Any], Lines]:
    """Parse YAML that holds settings by name; return them and their lines.

    Args:
        text: the YAML.
        source: where it comes from, for errors.
        kind: what it is, for errors.
        error: class of the errors that are raised.

    Raises:
        error: it is no YAML, is nothing by name, or names something twice.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as failed:
        mark = getattr(failed, "problem_mark", None)
        raise error(f"{where(source, mark.line + 1 if mark else None)}the {kind} is no YAML") from None
    if not isinstance(content, dict):
        raise error(f"the {kind} {source} must hold settings, one KEY: VALUE a line, but holds {shown(content)}")
    lines: dict[str, int] = {}
    for name, line in _lines(node):
        if name in lines:
            raise error(f"{where(source, line)}{shown(name)} was given before, in line {lines[name]}")
        lines[name] = line
    return content, lines


def where(source: str, line: int | None) -> str:
    """Return the beginning of an error sentence: ``FILE, line 3: ``; nothing if ``source`` is empty."""
    if not source:
        return ""
    return f"{source}: " if line is None else f"{source}, line {line}: "


def line_of(place: str, lines: Lines) -> int | None:
    """Return the line of a value, or of what it stands in; None if that is not known."""
    while place and place not in lines:
        place = re.sub(r"(\.?[^.\[\]]*|\[[^\[\]]*\])$", "", place)
    return lines.get(place)


def place_and_problem(failed: msgspec.ValidationError) -> tuple[str, str]:
    """Split msgspec's sentence into the place of the value, such as ``zones[0].name``, and what is wrong with it."""
    found = _AT.match(str(failed))
    what, place = (found["what"], found["place"]) if found else (str(failed), "")
    return place, what.replace("`", "").replace("object", "settings by name")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of an error sentence on an unknown word: the nearest known one, or all of them."""
    words = list(known)
    near = difflib.get_close_matches(word, words, 1, 0.6)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(words)}"


def _lines(root: yaml.Node) -> Iterator[tuple[str, int]]:
    """Yield the line of each value of a YAML document; what an alias repeats is not walked again."""
    left, walked = [("", root)], set()
    while left:
        place, node = left.pop()
        if id(node) in walked:
            continue
        walked.add(id(node))
        inner = []
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner.append((f"{place}.{key.value}" if place else f"{key.value}", value))
                yield inner[-1][0], key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                inner.append((f"{place}[{index}]", value))
                yield inner[-1][0], value.start_mark.line + 1
        left += inner
