"""The switch of a trial with fakes: order, frames that are done again, and what is compared."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
import pytest

from ssd_edge.detections import Detections
from ssd_edge.detector import Detector, Result, StageTimes
from ssd_edge.errors import BackendError
from ssd_edge.swap.remote import Answer
from ssd_edge.swap.shadow import Shadow
from ssd_edge.swap.switch import Switch
from tests.helpers import small_spec


def found(label):
    return Detections(np.array([[0, 0, 9, 9]], np.float32), np.ones(1, np.float32), np.array([label]))


class Old(Detector):
    """Finds class 0; checks that its results are fetched in order, and that one thread at a time asks."""

    def __init__(self):
        self.spec, self.depth, self.pending, self.done = small_spec(), 2, deque(), 0
        self.inside = threading.Lock()

    def submit(self, frame):
        with self.inside:
            assert len(self.pending) < self.depth
            own = object()
            self.pending.append(own)

        def finish():
            with self.inside:
                assert self.pending.popleft() is own
                self.done += 1
            return Result(found(0), StageTimes(0, 0, 0))

        return finish


class Candidate:
    """Finds class 1, until it fails."""

    def __init__(self, good=10**9):
        self.good, self.asked = good, 0

    def submit(self, pixels, pair=False):
        self.asked += 1
        number = self.asked

        def answer():
            if number > self.good:
                raise BackendError("it died of SIGSEGV")
            return Answer(found(1), 0.01, 0.01 if pair else None, 1000)

        return answer


@pytest.fixture
def made():
    """``made(candidate)`` makes a switch that compares as much as it can."""
    with Shadow(1.0) as shadow:

        def make(candidate):
            old, compared, failed = Old(), [], []
            return Switch(old, candidate, shadow, 0.5, compared.append, failed.append), old, compared, failed

        yield make


FRAME = np.zeros((8, 8, 3), np.uint8)


def labels(results):
    return [one.detections.labels.tolist() for one in results]


def run(switch, number, at=None):
    """Run frames with two in flight, as the loop does; ``at`` has what happens before the frame of that number."""
    pending, results = deque(), []
    for k in range(number):
        if at and k in at:
            at[k]()
        pending.append(switch.submit(FRAME))
        if len(pending) == 2:
            results.append(pending.popleft()())
    return results + [finish() for finish in pending]


def test_the_old_one_works_and_the_candidate_sees_the_same(made):
    switch, _, compared, failed = made(Candidate())
    seen = threading.Event()
    assert labels(run(switch, 50)) == [[0]] * 50
    while not compared:
        seen.wait(0.01)
    assert compared[0][:2] == (2, 2)
    assert compared[0].other == 0.01
    assert failed == []


def test_take_over_and_back_lose_no_frame(made):
    switch, old, _, failed = made(Candidate())
    results = labels(run(switch, 30, {10: switch.take_over, 20: switch.go_back}))
    assert results == [[0]] * 10 + [[1]] * 10 + [[0]] * 10
    assert failed == []
    assert not old.pending


@pytest.mark.parametrize("good", [0, 1, 5])
def test_frames_that_the_candidate_has_in_hand_as_it_dies_are_done_again(made, good):
    switch, old, _, failed = made(Candidate(good))
    switch.take_over()
    results = labels(run(switch, 20))
    assert results == [[1]] * good + [[0]] * (20 - good)
    assert failed[0] == "it died of SIGSEGV"
    assert not old.pending


def test_a_candidate_that_fails_in_the_shadow_is_told_and_the_old_one_works(made):
    switch, _, compared, failed = made(Candidate(0))
    assert labels(run(switch, 10)) == [[0]] * 10
    waiting = threading.Event()
    while not failed:
        waiting.wait(0.01)
    assert compared == []
