"""Write a command that a sentence recommends, so that it works as it is printed."""

from __future__ import annotations

import shlex


def command(*words: object) -> str:
    """Return ``ssd-edge WORDS`` for a shell; a word with blanks or other special characters is quoted."""
    return shlex.join(["ssd-edge", *map(str, words)])
