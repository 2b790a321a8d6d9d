"""What becomes of frames that arrive faster than they are processed."""

from __future__ import annotations

from dataclasses import dataclass

from ssd_edge.errors import SourceError

_MOST = 1000  # frames; at 1080p these are 6 GB, so more is a slip of the finger


@dataclass(frozen=True)
class BufferPolicy:
    """How many of a camera's frames wait, and what happens when there is no room for the next.

    Attributes:
        name: as a user types it.
        length: largest number of frames that wait.
        dropped_as: key of ``ledger.REASONS`` under which the oldest frame is dropped to make room; empty if no frame is
            dropped, and the source waits instead.
    """

    name: str
    length: int
    dropped_as: str


NEWEST = BufferPolicy("newest", 1, "replaced")
"""Only the newest frame waits, so that frames are never late."""

EVERY = BufferPolicy("every", 2, "")
"""Two frames are read ahead, then the source waits: no frame is lost."""


def drop_oldest(length: int) -> BufferPolicy:
    """Let up to ``length`` frames wait; when there is no room, drop the oldest."""
    return BufferPolicy(f"drop-oldest:{length}", length, "queue_full")


def parse_buffer(text: str) -> BufferPolicy:
    """Read a policy from what a user types: ``newest``, ``drop-oldest:8`` or ``every``.

    Raises:
        SourceError: it is none of these.
    """
    for policy in (NEWEST, EVERY):
        if text == policy.name:
            return policy
    word, _, number = text.partition(":")
    if word == "drop-oldest" and number.isdecimal() and 1 <= int(number) <= _MOST:
        return drop_oldest(int(number))
    raise SourceError(
        f"a buffer must be newest, every, or drop-oldest with a length from 1 to {_MOST}, such as drop-oldest:8, "
        f"but got {text!r}"
    )
