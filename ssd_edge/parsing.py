"""Read JSON that others wrote, with one kind of error, and show in a sentence what it holds."""

from __future__ import annotations

import json
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
