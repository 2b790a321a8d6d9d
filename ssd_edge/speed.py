"""Measure how fast heads run, several models in turns, so that a machine that slows down affects all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt

from ssd_edge.detector import Heads, RawHeads

ROUNDS = 5
SECONDS = 0.2
"""Each model has ``ROUNDS`` turns of at least ``SECONDS``."""


def images_per_second(models: Sequence[Heads]) -> list[float]:
    """Measure images/s of each model's heads alone: the median over its turns, with ``depth`` inferences at once.

    Args:
        models: at least one; they may differ in input size.
    """
    turns: list[list[float]] = [[] for _ in models]
    for number in range(1 + ROUNDS):
        for place, heads in enumerate(models):
            rate = _turn(heads)
            if number:  # the first turn warms up
                turns[place].append(rate)
    return [median(rates) for rates in turns]


def throughput(heads: Heads, images: Sequence[npt.NDArray[np.float32]], goes_on: Callable[[int, float], bool]) -> float:
    """Measure images/s of heads alone, with ``depth`` inferences at once.

    Args:
        heads: heads that are already warmed up.
        images: (1, 3, H, W) float32, ``depth`` of them, used again and again.
        goes_on: tells from the number of images and the seconds so far whether to continue.
    """
    pending: deque[Callable[[], RawHeads]] = deque()
    began, number = perf_counter(), 0
    while goes_on(number, perf_counter() - began):
        pending.append(heads.submit(images[number % heads.depth]))
        number += 1
        if len(pending) == heads.depth:
            pending.popleft()()
    while pending:
        pending.popleft()()
    return number / (perf_counter() - began)


def _turn(heads: Heads) -> float:
    random = np.random.default_rng(0)
    images = [random.normal(0, 1, (1, 3, *heads.spec.input_size)).astype(np.float32) for _ in range(heads.depth)]
    return throughput(heads, images, lambda number, seconds: seconds < SECONDS or number < heads.depth)
