"""Ways to damage a file: blindly, or with some knowledge of what it holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any
from xml.etree import ElementTree

Change = Callable[[bytes, Random], bytes]

NUMBERS = (
    *(
        "0",
        "-1",
        "1",
        "2",
        "0.5",
        "-0.0",
        "255",
        "256",
        "65536",
        "4294967296",
        "-9223372036854775809",
        "1e308",
        "1e309",
    ),
    *("-1e309", "nan", "NaN", "inf", "-Infinity", "1e-320", "9" * 30, "9" * 400, "9" * 5000, "0x10", "1_0", "1,5", "٣"),
    *("true", "null", "", "1:30", "1e5", "007", "1.0.0"),
)
TOKENS = (
    *(b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\r", b"\n\n", b"[", b"]" * 50, b"{", b"}", b"<", b">", b"&amp;"),
    *(
        b"&bomb;",
        b"../../../etc/passwd",
        b"/dev/zero",
        b"CON",
        b"%s%n",
        b"[/x]",
        b"\x1b[2J",
        b"!!python/object:os.system",
    ),
    *(b"!!int", b"!!bool x", b"*a", b"&a ", b"[" * 3000, b'{"a":' * 3000, b"- " * 500, b"<a>" * 3000, b"a" * 5000),
)
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        10**400,
        0.5,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "a",
        "[/x]",
        "\0",
    ),
    *("../x", "/etc/passwd", "\udcff", "\ud800", "가", "a" * 5000, "1", "nan", [], {}, [[]], [None], {"": None}),
    *([0] * 4, [1, 1], [0, 0], [-1, -1], [10**9, 10**9], [float("nan")] * 4, ["a"] * 4, {"a": {"b": {}}}),
)


def blindly(data: bytes, random: Random) -> bytes:
    """Change bytes without a look at what they mean, one to four times."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = random.choice(_BLIND)(data, random)
    return data


def _place(data: bytes, random: Random) -> tuple[int, int]:
    """Choose a stretch: its start and its end."""
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + int(2 ** random.uniform(0, 10)))


def _flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 3, 20))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _remove(data: bytes, random: Random) -> bytes:
    start, end = _place(data, random)
    return data[:start] + data[end:]


def _repeat(data: bytes, random: Random) -> bytes:
    start, end = _place(data, random)
    return data[:end] + data[start:end] * random.choice((1, 2, 50)) + data[end:]


def _exchange(data: bytes, random: Random) -> bytes:
    (a, b), (c, d) = sorted((_place(data, random), _place(data, random)))
    return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _insert(data: bytes, random: Random) -> bytes:
    start, _ = _place(data, random)
    return data[:start] + random.choice((*TOKENS, random.randbytes(random.choice((1, 4, 100))))) + data[start:]


def _number(data: bytes, random: Random) -> bytes:
    """Exchange a number in text."""
    numbers = list(re.finditer(rb"-?\d+(?:\.\d+)?", data[:200_000]))
    if not numbers:
        return _integer(data, random)
    match = random.choice(numbers)
    return data[: match.start()] + random.choice(NUMBERS).encode() + data[match.end() :]


def _integer(data: bytes, random: Random) -> bytes:
    """Write an integer of one to eight bytes over others: sizes and counts are such."""
    start, size = random.randrange(len(data) + 1), random.choice((1, 2, 4, 8))
    value = random.choice((0, 1, (1 << 8 * size) - 1, 1 << 8 * size - 1, (1 << 8 * size - 1) - 1, 0x7F, 0x10000))
    number = (value % (1 << 8 * size)).to_bytes(size, random.choice(("big", "little")))
    return data[:start] + number + data[start + size :]


_BLIND: tuple[Change, ...] = (_flip, _cut, _remove, _repeat, _exchange, _insert, _number, _number, _integer)


def json_values(data: bytes, random: Random) -> bytes:
    """Exchange, remove or repeat values in JSON, so that it stays JSON."""
    content = json.loads(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        content = changed_value(content, random)
    try:
        return json.dumps(content).encode()
    except ValueError:  # an integer too long to be written
        return data


def changed_value(content: Any, random: Random) -> Any:
    """Change one value somewhere in lists and dicts; the content is changed in place where it can be."""
    places: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in list(items):
            places.append((value, key))
            collect(inner)

    collect(content)
    if not places or random.random() < 0.02:
        return random.choice(VALUES)
    holder, key = random.choice(places)
    what = random.choice(("exchange", "exchange", "exchange", "remove", "nest", "other", "many"))
    if what == "exchange":
        holder[key] = random.choice(VALUES)
    elif what == "remove":
        del holder[key]
    elif what == "nest":
        holder[key] = [holder[key]]
    elif what == "other":
        other, place = random.choice(places)
        holder[key] = json.loads(json.dumps(other.get(place) if isinstance(other, dict) else other[place % len(other)]))
    elif isinstance(holder, list):
        holder.extend([holder[key]] * random.choice((1, 3, 500)))
    return content


def xml_elements(data: bytes, random: Random) -> bytes:
    """Exchange texts, remove, repeat or nest elements of XML, so that it stays XML."""
    root = ElementTree.fromstring(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        parents = [element for element in root.iter() if len(element)]
        if not parents:
            break
        parent = random.choice(parents)
        child = random.choice(list(parent))
        what = random.choice(("text", "text", "remove", "repeat", "nest", "tag"))
        if what == "text":
            child.text = random.choice((*NUMBERS, "[/x]", "../x", "a" * 300))
        elif what == "remove":
            parent.remove(child)
        elif what == "repeat":
            parent.extend([child] * random.choice((1, 100)))
            break  # repeats of repeats would be more than any memory holds
        elif what == "nest":
            for _ in range(random.choice((1, 50, 5000))):
                outer = ElementTree.Element(child.tag)
                outer.append(child)
                child = outer
            parent.append(child)
        else:
            child.tag = random.choice([element.tag for element in root.iter()])
    try:
        text = ElementTree.tostring(root)
    except RecursionError:
        depth = 20_000
        return data.replace(b"</annotation>", b"<a>" * depth + b"</a>" * depth + b"</annotation>")
    return text
