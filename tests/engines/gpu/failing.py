"""Failures of the driver, one call after another."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from ssd_edge.errors import BackendError
from tests.cuda.emulated import Emulated


def each_call_fails_cleanly(emulated: Emulated, scenario: Callable[[], None], reset: Callable[[], None]) -> int:
    """Have each call of a scenario fail in turn: it must be one sentence, and leak nothing but refused releases.

    Args:
        emulated: the driver.
        scenario: what is done; it must leave nothing behind.
        reset: makes the machine anew.

    Returns:
        The number of calls.
    """
    reset()
    scenario()
    assert emulated.leaks() == {}
    calls = emulated.calls()
    for number in range(calls):
        reset()
        emulated.fail(call=number, result=2)  # CUDA_ERROR_OUT_OF_MEMORY
        with pytest.raises(BackendError, match=r"^[^\n]*out of memory[^\n]*$"):
            scenario()
        if emulated.leaks():
            gc.collect()  # the error's traceback may hold the frames, and so their memory
        leaks = emulated.leaks()
        assert sum(leaks.values()) <= emulated.refused_releases(), f"call {number}: {leaks}"
    return calls
