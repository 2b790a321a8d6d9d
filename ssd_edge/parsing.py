"""Read JSON and sizes that others wrote, with one kind of error, and show in a sentence what they hold."""

from __future__ import annotations

import json
import re
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Read JSON; of bytes, the encoding is found as ``json`` does.

    Raises:
        ValueError: it is no JSON, or more than Python reads: nested too deeply, or a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text: byte {error.start} is not {error.encoding}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it holds a number of thousands of digits") from None


def shown(value: object, most: int = 200) -> str:
    """Format a value from a file for an error sentence: its ``repr``, which is one line, cut if it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]} …"


def parse_size(text: str) -> tuple[int, int]:
    """Read ``WIDTHxHEIGHT``, as cameras' sizes are written, as (height, width), as arrays' are.

    Raises:
        ValueError: it is not two whole numbers above 0 of at most five digits.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})[xX×]([1-9][0-9]{0,4})", text.strip())
    if match is None:
        raise ValueError(f"a size is WIDTHxHEIGHT in pixels, such as 512x288, but got {shown(text)}")
    return int(match[2]), int(match[1])


def as_text(size: tuple[int, int]) -> str:
    """Invert ``parse_size``: (288, 512) → ``512x288``."""
    return f"{size[1]}x{size[0]}"


def parse_duration(text: str) -> float:
    """Read a duration such as ``100ms`` or ``1.5s`` in seconds.

    Raises:
        ValueError: it is not a number above 0 with its unit.
    """
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s)", text.strip())
    seconds = float(match[1]) / (1000 if match[2] == "ms" else 1) if match else 0.0
    if seconds <= 0:
        raise ValueError(f"a duration is a number above 0 with ms or s, such as 100ms or 1.5s, but got {shown(text)}")
    return seconds
