"""Images/s of several heads, measured on a fake clock that the heads themselves advance."""

from __future__ import annotations

from typing import Any

import pytest

from ssd_edge import speed
from ssd_edge.cli.common import NO_GAIN, how_fast
from tests.helpers import small_spec


class Clock:
    """Clock that only the heads advance."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedHeads:
    """Heads that take ``seconds`` for an image, and three times as long from call ``slow_from`` on."""

    spec = small_spec()

    def __init__(self, clock: Clock, seconds: float, depth: int = 1, slow_from: float = float("inf")) -> None:
        self.depth, self._clock, self._seconds, self._slow_from = depth, clock, seconds, slow_from
        self.calls = 0

    def submit(self, images: Any) -> Any:
        assert images.shape == (1, 3, *self.spec.input_size)
        self.calls += 1
        self._clock.now += self._seconds * (3 if self.calls > self._slow_from else 1)
        return lambda: None


def test_the_rate_is_the_median_over_turns(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(speed, "perf_counter", clock)
    monkeypatch.setattr(speed, "SECONDS", 0.1)
    slow, fast = TimedHeads(clock, 0.01), TimedHeads(clock, 0.0025, depth=2)
    assert speed.images_per_second([slow, fast]) == pytest.approx([100, 400])
    # One turn in five is disturbed, which does not change the median.
    disturbed = TimedHeads(clock, 0.01, slow_from=50)
    assert speed.images_per_second([disturbed]) == pytest.approx([100])


def test_a_turn_shorter_than_an_image_still_counts_one(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(speed, "perf_counter", clock)
    assert speed.images_per_second([TimedHeads(clock, 1.0)]) == pytest.approx([1])


def test_advice_on_int8():
    sentence, colour = how_fast(100, 170)
    assert (sentence, colour) == ("INT8 is 1.70 times as fast as FP32 on this CPU (170 and 100 images/s)", "")
    for int8 in (90, 100, 100 * NO_GAIN - 1):
        sentence, colour = how_fast(100, int8)
        assert "build FP32" in sentence
        assert colour == "yellow"
