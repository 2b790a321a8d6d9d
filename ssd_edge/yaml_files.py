"""Read YAML files that people write, so that an error names the file, the line and the nearest known word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import msgspec.inspect
import yaml  # type: ignore[import-untyped]

from ssd_edge.errors import SsdEdgeError
from ssd_edge.parsing import shown

Lines = Mapping[str, int]
"""Line of each value, counted from 1, by its place: names joined with dots, and indices such as ``zones[0].name``."""

_Kind = TypeVar("_Kind")

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


def converted(content: Any, kind: type[_Kind], source: str, lines: Lines, error: type[SsdEdgeError]) -> _Kind:
    """Convert what YAML holds to a type.

    Args:
        content: plain values.
        kind: a struct of msgspec, or a dataclass.
        source: where the values come from, for errors; empty for none.
        lines: line of each value.
        error: class of the errors that are raised.

    Raises:
        error: a key is unknown or missing, or a value is of another type; the sentence names file, line and place, and
            the nearest known key. Errors that the type itself raises pass.
    """
    try:
        # not strict: YAML 1.1, which PyYAML reads, takes 1e-3 for text
        return msgspec.convert(content, kind, strict=False)
    except msgspec.ValidationError as failed:
        raise error(sentence_on(failed, content, kind, source, lines)) from None


def sentence_on(failed: msgspec.ValidationError, content: Any, kind: Any, source: str, lines: Lines) -> str:
    """Return the sentence on a value that msgspec refused: file, line, place, and the nearest known key.

    Args:
        failed: what msgspec raised.
        content: what was converted.
        kind: the type that it should have had.
        source: where the values come from; empty for none.
        lines: line of each value.
    """
    steps, problem = _place_and_problem(failed, content, kind)
    place = _joined(steps)
    if unknown := re.search(r"contains unknown field (.*)", problem):
        line = line_of(_joined([*steps, unknown[1]]), lines)
        advice = did_you_mean(unknown[1], _keys_at(kind, steps))
        return f"{where(source, line)}there is no setting {shown(unknown[1])}; {advice}"
    start = f"{where(source, line_of(place, lines))}{place or 'the file'}"
    if choices := _choices_at(kind, steps):
        return f"{start} must be one of {', '.join(choices)}: {problem}"
    if missing := re.search(r"missing required field (.*)", problem):
        return f"{start} needs {missing[1]}"
    return f"{start} is of the wrong type: {problem}"


def _joined(steps: Sequence[str]) -> str:
    return re.sub(r"\.\[", "[", ".".join(steps))


def _place_and_problem(failed: msgspec.ValidationError, content: Any, kind: Any) -> tuple[list[str], str]:
    """Split msgspec's sentence into the steps to the value, and what is wrong with it."""
    found = _AT.match(str(failed))
    what, place = (found["what"], found["place"]) if found else (str(failed), "")
    what = re.sub(r" - at key in \$.*", " as a key", what.replace("`", "")).replace("object", "settings by name")
    steps: list[str] = []
    for step in re.findall(r"\[[^\]]*\]|[^.\[\]]+", place):
        steps.append(_culprit(content, kind, steps, str(failed)) if step == "[...]" else step)
    return steps, what


def _culprit(content: Any, kind: Any, steps: Sequence[str], sentence: str) -> str:
    """Find the key that msgspec does not name: alone in its mapping, it fails in the same way."""
    mapping = content
    for step in steps:
        mapping = mapping[int(step[1:-1])] if step.startswith("[") else mapping[step]
    for key, value in mapping.items():
        try:
            msgspec.convert(_with(content, steps, {key: value}), kind, strict=False)
        except msgspec.ValidationError as failed:
            if str(failed) == sentence:
                return str(key)
    return "[...]"


def _with(content: Any, steps: Sequence[str], value: Any) -> Any:
    """Return content with another value at a place."""
    if not steps:
        return value
    first, *rest = steps
    if first.startswith("["):
        index = int(first[1:-1])
        return [*content[:index], _with(content[index], rest, value), *content[index + 1 :]]
    return {**content, first: _with(content[first], rest, value)}


def _keys_at(kind: Any, steps: Sequence[str]) -> list[str]:
    """Return the keys of the structs that may stand at a place."""
    structs = [one for one in _types_at(kind, steps) if isinstance(one, msgspec.inspect.StructType)]
    return sorted({field.encode_name for struct in structs for field in struct.fields})


def _choices_at(kind: Any, steps: Sequence[str]) -> list[str]:
    """Return the words of which one may stand at a place; empty if any may."""
    return [
        str(word)
        for one in _types_at(kind, steps)
        if isinstance(one, msgspec.inspect.LiteralType)
        for word in one.values
    ]


def _types_at(kind: Any, steps: Sequence[str]) -> list[msgspec.inspect.Type]:
    types = [msgspec.inspect.type_info(kind)]
    for step in steps:
        types = [inner for one in types for inner in _inside(one, step)]
    return types


def _inside(kind: msgspec.inspect.Type, step: str) -> Iterator[msgspec.inspect.Type]:
    """Yield the types of what stands at one step into a type."""
    if isinstance(kind, msgspec.inspect.StructType):
        inner = [field.type for field in kind.fields if field.encode_name == step]
    elif isinstance(kind, msgspec.inspect.DictType):
        inner = [kind.value_type]
    elif isinstance(kind, msgspec.inspect.ListType):
        inner = [kind.item_type]
    else:
        inner = []
    for one in inner:
        yield from one.types if isinstance(one, msgspec.inspect.UnionType) else [one]


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
