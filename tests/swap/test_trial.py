"""Decisions of a trial with a clock of its own: each limit, and that nothing takes over that broke one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ssd_edge.swap.contract import Contract
from ssd_edge.swap.trial import ENOUGH, Compared, Frames, Trial

CONTRACT = Contract(
    frames=40, seconds=5, detections=10, probation_frames=50, probation_seconds=6, growth=1000, patience=100
)
FINE = Compared(0, 2, 0.01, 0.01, 5000)


class Run:
    def __init__(self, contract=CONTRACT, frames=None):
        self.now, self.frames = 0.0, frames or Frames(0, 0)
        self.trial = Trial(contract, self.frames, lambda: self.now)

    def go(self, number, one=FINE, seconds=0.5, late=0):
        """Compare frames until something is to be done."""
        for _ in range(number):
            self.now += seconds
            self.frames = Frames(self.frames.late + late, self.frames.processed + 1)
            self.trial.compare(one)
            step = self.trial.look(self.frames)
            if step is not None:
                return step
        return None


def test_a_good_one_takes_over_after_frames_and_seconds_and_is_kept_after_its_probation():
    run = Run()
    assert run.go(39) is None
    assert run.go(1).action == "take over"
    assert run.trial.phase == "probation"
    assert run.go(49) is None
    step = run.go(1)
    assert step.action == "keep"
    assert "0 of 100 detections" in step.why
    assert run.go(100) is None


def test_frames_alone_are_not_enough_nor_are_seconds():
    run = Run()
    assert run.go(60, seconds=0.01) is None
    run.now += 5
    assert run.go(1).action == "take over"
    slow = Run()
    assert slow.go(39, seconds=2) is None


BAD = [
    (FINE._replace(unmatched=1), "detections without a match"),
    (FINE._replace(seconds=0.016), "1.60 times as long"),
]


@pytest.mark.parametrize(("one", "why"), BAD)
def test_a_bad_one_is_refused_in_the_shadow_and_goes_back_on_probation(one, why):
    run = Run()
    step = run.go(40, one)
    assert step.action == "refuse"
    assert why in step.why
    run = Run()
    assert run.go(40).action == "take over"
    step = run.go(50, one)
    assert step.action == "go back"
    assert why in step.why
    assert run.trial.phase == "over"


def test_a_burst_of_slow_frames_neither_refuses_nor_lets_in():
    slow = FINE._replace(seconds=0.02)
    run = Run()
    assert run.go(36, slow) is None
    assert run.go(4) is None, "a tenth of all is slow still, not of the newer half"
    assert run.trial.sentence().endswith("2.00 times the time of the old engine")
    assert run.go(1).action == "take over"
    run = Run(replace(CONTRACT, patience=20))
    run.go(36, slow)
    assert run.go(4) == ("refuse", "after 20 s, a frame takes 2.00 times as long as before; at most 1.5 are allowed")


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_few_times_are_enough_if_few_are_wanted(frames):
    contract = replace(CONTRACT, frames=frames, detections=0, seconds=0)
    assert Run(contract).go(frames).action == "take over"
    assert Run(contract).go(frames, FINE._replace(seconds=0.02)).action == "refuse"


def test_memory_that_grows_is_seen_in_each_phase():
    run = Run()
    assert run.go(ENOUGH, FINE._replace(resident=9000)) is None
    assert run.go(1, FINE._replace(resident=10_000)) is None
    assert run.go(1, FINE._replace(resident=10_001)).why.startswith("its memory grew by 1 KB;")


def test_frames_that_become_too_old_count_beyond_what_was_usual():
    run = Run(frames=Frames(0, 1000))
    assert run.go(40, late=1).action == "refuse"
    run = Run(frames=Frames(500, 500))
    assert run.go(40, late=1).action == "take over"


def test_a_failure_ends_it_at_once_and_the_first_reason_counts():
    run = Run()
    run.trial.fail("it died")
    run.trial.fail("it was ended")
    assert run.trial.look(run.frames) == ("refuse", "it died")
    assert run.trial.look(run.frames) is None


def test_nothing_to_compare_is_no_agreement():
    run = Run()
    step = run.go(300, FINE._replace(total=0))
    assert step.action == "refuse"
    assert "0 of 10 detections could be compared" in step.why


@pytest.mark.parametrize("seed", range(200))
def test_never_in_with_a_broken_limit(seed):
    """Whatever comes: one take-over at most, one end at most, and no step forward against a limit."""
    rng = random.Random(seed)
    run, actions = Run(), []
    unmatched = total = 0
    worst = rng.choice([0.1, 0.3, 1.0])
    for _ in range(400):
        one = Compared(int(rng.random() < worst), 2, 0.01 * rng.uniform(0.5, 1.4), 0.01, 5000)
        unmatched, total = unmatched + one.unmatched, total + one.total
        step = run.go(1, one, seconds=rng.uniform(0, 1))
        if step is None:
            continue
        actions.append(step.action)
        if step.action in ("take over", "keep"):
            assert unmatched <= 0.2 * total
            unmatched = total = 0
    assert actions in ([], ["refuse"], ["take over", "go back"], ["take over", "keep"], ["take over"])
