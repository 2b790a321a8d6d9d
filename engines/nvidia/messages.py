"""What NVIDIA's library says, as part of a sentence."""

from __future__ import annotations

import re


def plain(message: str) -> str:
    """One line, without the numbers of errors and the places in NVIDIA's source."""
    line = " ".join(message.split())
    line = re.sub(r"^(\[[\w.]+::\w+::\d+\] )?(I\w+::\w+: )?(Error Code \d+: )?", "", line)
    return re.sub(r"[:,.]? ?In \w+ at /_src/\S+:\d+ ?", " ", line).replace("( ", "(").replace(" )", ")").strip()
