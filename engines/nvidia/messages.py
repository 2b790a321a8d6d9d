"""Clean up messages of NVIDIA's libraries so that they fit into a sentence."""

from __future__ import annotations

import re


def plain(message: str) -> str:
    """Put a message on one line, without error numbers and locations in NVIDIA's source."""
    line = " ".join(message.split())
    line = re.sub(r"^(\[[\w.]+::\w+::\d+\] )?(I\w+::\w+: )?(Error Code \d+: )?", "", line)
    return re.sub(r"[:,.]? ?In \w+ at /_src/\S+:\d+ ?", " ", line).replace("( ", "(").replace(" )", ")").strip()
