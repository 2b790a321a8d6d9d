"""Freed memory is used again, or given back, not scattered, in a run of months and in a training."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # parameters of mallopt, from malloc.h
_DEFAULTS = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 128 * 1024}  # mallopt(3)
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}  # no block comes from mmap, and the heap is never cut
_SETTINGS_OF_KEEPING = {"MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}
_ARENAS = 2


def share_arenas() -> None:
    """Have all threads share two arenas of glibc's ``malloc``; call it before others are made.

    By default there are eight for each core, and a new thread takes whichever is free. A video encoder has threads of
    its own and is opened anew for each piece, so that piece by piece its tens of megabytes were taken from other
    arenas, which keep what is freed in them: the process grew for hours. ``MALLOC_ARENA_MAX`` in the environment holds
    instead where it is set; other C libraries have no arenas.
    """
    _set({_ARENA_MAX: _ARENAS}, unless={"MALLOC_ARENA_MAX"})


def give_back_memory() -> None:
    """Give the system all whole pages that were freed; call it after much was freed at once.

    Otherwise glibc keeps what lies below the last block in use of an arena, and where many small blocks are made
    between two encoders, the second does not find the room of the first. Takes a few milliseconds, without the GIL.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Have glibc's ``malloc`` keep what is freed for the next block meanwhile, and give it back at the end.

    By default each block of 32 MiB or more comes from the system and goes back to it, whose pages are filled with
    zeros at their first touch. A training step makes the same blocks as the one before, gigabytes of them, and where
    the processor is a virtual one, filling them took two thirds of its time. In return the heap comes to have gaps:
    the process holds over half as much again (benchmarks/train_memory.py). glibc's own settings in the environment
    hold instead where they are set; other C libraries are left as they are.
    """
    _set(_KEEP, unless=_SETTINGS_OF_KEEPING)
    try:
        yield
    finally:
        let_go_of_freed_memory()


def let_go_of_freed_memory() -> None:
    """End ``freed_memory_kept`` in this process; a process forked meanwhile calls it if it is to need little."""
    _set(_DEFAULTS, unless=_SETTINGS_OF_KEEPING)
    give_back_memory()


def _set(values: Mapping[int, int], unless: Set[str]) -> None:
    """Set parameters of glibc's ``malloc``, unless the environment has one of these settings of its own."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not unless & set(os.environ):
        for parameter, value in values.items():
            mallopt(parameter, value)
