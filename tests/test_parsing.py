"""JSON that others wrote: what it says, or one kind of error."""

from __future__ import annotations

import pytest

from ssd_edge.parsing import parse_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, 2.5, null]", [1, 2.5, None]),
        (b'{"a": "\xea\xb0\x80"}', {"a": "가"}),
        (b"\xef\xbb\xbf{}", {}),
        ("9" * 4000, int("9" * 4000)),
    ],
)
def test_values(text, value):
    assert parse_json(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "a number of thousands of digits"),
        (b'{"a": "\xff"}', "it is not text: byte 7 is not utf-8"),
    ],
    ids=["empty", "cut", "lists", "objects", "digits", "bytes"],
)
def test_what_is_wrong_is_a_value_error_of_one_line(text, reason):
    with pytest.raises(ValueError, match=reason) as error:
        parse_json(text)
    assert "\n" not in str(error.value)
