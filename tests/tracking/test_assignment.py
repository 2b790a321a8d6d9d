from __future__ import annotations

from itertools import permutations, product
from math import inf, nan

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssd_edge.tracking.assignment import assign

# Multiples of 1/8 below 8, so that every sum is exact, and ties are many.
COSTS = st.tuples(st.integers(0, 5), st.integers(0, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 12).map(lambda eighths: eighths / 8))
)


def value(costs: npt.NDArray[np.float64], limit: float) -> float:
    rows, columns = assign(costs, limit)
    assert len(set(rows.tolist())) == len(rows)
    assert rows.tolist() == sorted(rows.tolist())
    assert len(set(columns.tolist())) == len(columns)
    assert (costs[rows, columns] < limit).all()
    return float((costs[rows, columns] - limit).sum())


def least(costs: npt.NDArray[np.float64], limit: float) -> float:
    """The value of the best of all choices, each of which is tried."""
    gains = np.minimum(costs - limit, 0)
    if gains.shape[0] > gains.shape[1]:
        gains = gains.T
    rows = range(gains.shape[0])
    return min(
        float(sum(gains[row, column] for row, column in zip(rows, choice, strict=True)))
        for choice in permutations(range(gains.shape[1]), gains.shape[0])
    )


@given(COSTS, st.sampled_from([0.5, 1.0, 2.0]))
def test_no_other_choice_is_better(costs: npt.NDArray[np.float64], limit: float) -> None:
    assert value(costs, limit) == least(costs, limit)


def test_equals_scipy() -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="scipy is not needed otherwise")
    rng = np.random.default_rng(0)
    for shape, possible in product([(40, 40), (60, 20), (20, 60), (1, 30)], [1.0, 0.1]):
        for _ in range(20):
            costs = np.where(rng.random(shape) < possible, rng.random(shape), inf)
            gains = np.minimum(costs - 0.8, 0)
            rows, columns = optimize.linear_sum_assignment(gains)
            # sums of 60 numbers below 1, each rounded by at most 2^-53
            assert value(costs, 0.8) == pytest.approx(gains[rows, columns].sum(), abs=60 * 60 * 2**-53)


def test_prices_of_a_large_solution_prove_it() -> None:
    """A second solver is not needed: with these costs the best choice is known, and greedy choices miss it."""
    rng = np.random.default_rng(3)
    hidden = rng.permutation(80)
    rows, columns = rng.integers(0, 64, 80), rng.integers(0, 64, 80)  # prices
    slack = rng.integers(1, 64, (80, 80))
    slack[np.arange(80), hidden] = 0
    costs = (rows[:, None] + columns + slack).astype(np.float64)
    assert assign(costs, 1000.0)[1].tolist() == hidden.tolist()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_pair(shape: tuple[int, int]) -> None:
    rows, columns = assign(np.zeros(shape), 1.0)
    assert len(rows) == len(columns) == 0


def test_a_pair_at_the_limit_is_not_made() -> None:
    assert len(assign(np.full((2, 2), 0.5), 0.5)[0]) == 0
    assert len(assign(np.full((2, 2), inf), 0.5)[0]) == 0


def test_a_cost_that_is_no_number_is_no_pair() -> None:
    costs = np.array([[nan, 0.1, 0.2], [0.3, nan, 0.1], [0.2, 0.3, nan]])
    assert [one.tolist() for one in assign(costs, 1.0)] == [[0, 1, 2], [1, 2, 0]]
