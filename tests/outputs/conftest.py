import pytest

from tests.cameras import make_detector, no_thread_is_left
from tests.outputs.worlds import Clock

__all__ = ["make_detector", "no_thread_is_left"]


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()
