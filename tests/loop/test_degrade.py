"""The policy that does less while the machine is slowed down: its steps, and that it neither swings nor stays down."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ssd_edge.loop.degrade import FULL, Patience, Policy, Step, ladder

QUICK = Patience(down=3, up=10, most=40, gap=2)


def play(policy: Policy, troubles, start: float = 0.0):
    """Update once a second; return (second, step, why) of each change."""
    changes = []
    for second, trouble in enumerate(troubles):
        change = policy.update(start + second, "heat" if trouble else None)
        if change is not None:
            assert change.step == policy.step
            changes.append((start + second, change.step, change.why))
    return changes


def test_the_ladder():
    assert ladder(has_smaller=False) == (Step(1), Step(2), Step(3))
    assert ladder(has_smaller=True) == (Step(1), Step(2), Step(3), Step(3, smaller=True))
    assert [str(step) for step in ladder(has_smaller=True)] == [
        "every frame",
        "one frame of 2",
        "one frame of 3",
        "one frame of 3, by the smaller engine",
    ]


def test_down_step_by_step_and_up_again():
    changes = play(Policy(ladder(has_smaller=True), QUICK), [True] * 12 + [False] * 50)
    assert [(second, step) for second, step, _ in changes] == [
        (3, Step(2)),
        (6, Step(3)),
        (9, Step(3, smaller=True)),
        (21, Step(3)),  # the last trouble was in second 11
        (31, Step(2)),
        (41, FULL),
    ]
    assert changes[0][2] == "heat for 3 s"
    assert changes[3][2] == "that is over for 10 s"


def test_a_short_trouble_changes_nothing():
    assert play(Policy(ladder(has_smaller=True), QUICK), [True, True, True, False, False, False, False, True]) == []


def test_trouble_that_comes_and_goes_by_the_second_is_one_trouble():
    changes = play(Policy(ladder(has_smaller=False), QUICK), [True, False] * 4)
    assert [(second, step) for second, step, _ in changes] == [(4, Step(2))]


def test_each_step_up_that_brings_the_trouble_back_waits_longer_for_the_next():
    """A machine that is well only at the second step: the times at full work become rare."""
    policy, hot, ups = Policy(ladder(has_smaller=False), QUICK), True, []
    for second in range(1000):
        change = policy.update(second, "heat" if hot else None)
        if change and change.step == FULL:
            ups.append(second)
        hot = policy.step == FULL
    gaps = [later - earlier for earlier, later in pairwise(ups)]
    assert gaps == sorted(gaps)
    assert gaps[0] < QUICK.most <= gaps[-1]


def test_patience_is_back_after_a_long_calm():
    policy = Policy(ladder(has_smaller=False), QUICK)
    play(policy, ([True] * 4 + [False] * 30) * 5)
    assert policy.step == FULL
    play(policy, [False] * 100, start=1000)
    (down, _, _), (up, _, _) = play(policy, [True] * 4 + [False] * 20, start=2000)
    assert (down, up) == (2003, 2013)


histories = st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=40).map(
    lambda runs: [trouble for trouble, length in runs for _ in range(length)]
)


@given(histories, st.booleans())
def test_it_never_swings_faster_than_its_patience(history, has_smaller):
    steps = ladder(has_smaller)
    changes = [(0.0, FULL, ""), *play(Policy(steps, QUICK), history)]
    for (before, step, _), (now, next_step, _) in pairwise(changes):
        distance = steps.index(next_step) - steps.index(step)
        assert abs(distance) == 1
        assert now - before >= (QUICK.down if distance > 0 else QUICK.up)
        second = int(now)
        if distance > 0:  # trouble now, and no pause in it as long as the gap, since ``down`` seconds
            assert history[second]
            lately = history[second - int(QUICK.down) : second + 1]
            assert any(lately[: int(QUICK.gap)])
        else:
            assert not any(history[max(0, second - int(QUICK.up) + 1) : second + 1])


@given(histories, st.booleans())
def test_it_always_comes_back_to_full_work(history, has_smaller):
    steps = ladder(has_smaller)
    policy = Policy(steps, QUICK)
    play(policy, history)
    play(policy, [False] * (int(QUICK.most) * len(steps) + 1), start=len(history))
    assert policy.step == FULL


@given(histories, st.booleans())
def test_lasting_trouble_ends_at_the_last_step(history, has_smaller):
    steps = ladder(has_smaller)
    policy = Policy(steps, QUICK)
    play(policy, history)
    play(policy, [True] * int(QUICK.down + 1) * len(steps), start=len(history))
    assert policy.step == steps[-1]
