"""Fixture that closes the files that the machines of the tests leave open."""

from __future__ import annotations

import os

import pytest

from tests.machine.machines import HELD


@pytest.fixture(autouse=True)
def _closed():
    yield
    while HELD:
        os.close(HELD.pop())
