"""Memory of a process that runs for months: freed memory is used again, or given back, not scattered."""

from __future__ import annotations

import ctypes
import os

_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h
_ARENAS = 2


def share_arenas() -> None:
    """Have all threads share two arenas of glibc's ``malloc``; call it before others are made.

    By default there are eight for each core, and a new thread takes whichever is free. A video encoder has threads of
    its own and is opened anew for each piece, so that piece by piece its tens of megabytes were taken from other
    arenas, which keep what is freed in them: the process grew for hours. ``MALLOC_ARENA_MAX`` in the environment holds
    instead where it is set; other C libraries have no arenas.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, _ARENAS)


def give_back_memory() -> None:
    """Give the system all whole pages that were freed; call it after much was freed at once.

    Otherwise glibc keeps what lies below the last block in use of an arena, and where many small blocks are made
    between two encoders, the second does not find the room of the first. Takes a few milliseconds, without the GIL.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
