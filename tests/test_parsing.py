"""JSON, sizes and durations that others wrote: what they say, or one kind of error."""

from __future__ import annotations

import pytest

from ssd_edge.parsing import bytes_as_text, parse_bytes, parse_duration, parse_json


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


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500_000_000), ("1.5 gb", 1_500_000_000), ("2GiB", 2 << 30), ("64KiB", 65_536), ("7B", 7), (" 0 ", 0)],
)
def test_bytes(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "5", "-1GB", "1 Gb/s", "GB", "1e3MB", "0.0000001KB", "10 parsecs"])
def test_no_bytes(text):
    with pytest.raises(ValueError, match="a size on the disk is a number with its unit, such as 500MB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (4_000, "4 KB"), (1_500_000_000, "1.5 GB"), (5 * 10**15, "5e+03 TB")]
)
def test_bytes_are_shown(size, text):
    assert bytes_as_text(size) == text


@pytest.mark.parametrize(("text", "seconds"), [("100ms", 0.1), ("1.5s", 1.5), ("10m", 600), ("24h", 86_400)])
def test_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "0s", "-1s", "3d"])
def test_no_durations(text):
    with pytest.raises(ValueError, match="a duration is a number above 0 with ms, s, m or h, such as 100ms"):
        parse_duration(text)
