"""Fixtures of tests that need a GPU, or what stands for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cuda.emulated import Emulated, emulated_gpu


@pytest.fixture
def emulated() -> Iterator[Emulated]:
    """An emulated GPU; a test that lets nothing fail must give all back, and not while it is used."""
    with emulated_gpu() as gpu:
        yield gpu
        if not gpu.failing:
            assert gpu.leaks() == {}, "not given back"
            assert gpu.freed_while_used() == 0, "freed under work that uses it"
