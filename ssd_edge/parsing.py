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
    """Read a duration such as ``100ms``, ``1.5s``, ``10m`` or ``24h`` in seconds.

    Raises:
        ValueError: it is not a number above 0 with its unit.
    """
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h)", text.strip())
    seconds = float(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds <= 0:
        raise ValueError(f"a duration is a number above 0 with ms, s, m or h, such as 100ms, but got {shown(text)}")
    return seconds


_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BYTES.update({f"{name[0]}iB": 1024**power for power, name in enumerate(_BYTES) if power})


def parse_bytes(text: str) -> int:
    """Read a number of bytes such as ``500MB``, ``1.5GB`` or ``2GiB``.

    Raises:
        ValueError: it is not a number above 0 with its unit, or 0.
    """
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)", text.strip())
    unit = next((value for name, value in _BYTES.items() if match and name.lower() == match[2].lower()), 0)
    size = int(float(match[1]) * unit) if match else 0
    if size <= 0 and text.strip() != "0":
        raise ValueError(f"a size on the disk is a number with its unit, such as 500MB or 10GB, but got {shown(text)}")
    return size


def bytes_as_text(size: int) -> str:
    """Invert ``parse_bytes``, to three digits: 1500000000 → ``1.5 GB``."""
    value, unit = float(size), "B"
    for name in ("KB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, name
    return f"{value:.3g} {unit}"
