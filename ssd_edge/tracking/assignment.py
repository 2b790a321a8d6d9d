"""Assign rows to columns at the least total cost, exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def assign(costs: Costs, limit: float) -> tuple[Indices, Indices]:
    """Pair rows with columns so that the sum over all pairs of ``cost - limit`` is as low as possible.

    So no pair costs ``limit`` or more, and no other choice of pairs, fewer or more of them, has a lower sum. This is
    the problem that ``lap.lapjv(costs, extend_cost=True, cost_limit=limit)`` solves.

    Args:
        costs: (N, M) finite, or +inf or NaN for pairs that must not be.
        limit: cost at which leaving a row and a column alone is as good as pairing them.

    Returns:
        (K,) rows in ascending order and (K,) columns.
    """
    possible = costs < limit
    rows, columns = np.nonzero(possible)
    # Most objects have one candidate, which has no other.
    sole = (possible.sum(axis=1)[rows] == 1) & (possible.sum(axis=0)[columns] == 1)
    paired = np.full(len(costs), -1, np.int64)
    paired[rows[sole]] = columns[sole]
    if not sole.all():
        rows = np.flatnonzero(possible.any(axis=1) & (paired < 0))
        columns = np.flatnonzero(possible[rows].any(axis=0))
        contested = costs[rows[:, None], columns]
        contested = np.where(contested < limit, contested - limit, 0.0)
        chosen = _inverse(_solve(contested.T), len(rows)) if len(rows) > len(columns) else _solve(contested)
        kept = chosen >= 0
        kept[kept] = contested[kept.nonzero()[0], chosen[kept]] < 0
        paired[rows[kept]] = columns[chosen[kept]]
    rows = (paired >= 0).nonzero()[0]
    return rows, paired[rows]


def _inverse(chosen: Indices, size: int) -> Indices:
    rows = np.full(size, -1, np.int64)
    rows[chosen] = np.arange(len(chosen))
    return rows


def _solve(costs: Costs) -> Indices:
    """Find the column of each row, (N, M) with N <= M, by shortest augmenting paths (Jonker and Volgenant, 1987).

    ``row_price`` and ``column_price`` are the dual variables: no pair's cost is below the sum of its two prices, and
    the pairs made so far cost exactly that. Each row finds the cheapest path to a free column.
    """
    count, width = costs.shape
    row_price, column_price = costs.min(axis=1), np.zeros(width)
    row_of = np.full(width, -1, np.int64)
    for first in range(count):
        reach = np.full(width, np.inf)  # reduced cost of the cheapest path to each column
        before = np.full(width, -1, np.int64)  # the column before it on that path
        done = np.zeros(width, bool)
        row, column, cost = first, -1, 0.0
        while True:
            through = cost + costs[row] - row_price[row] - column_price
            better = ~done & (through < reach)
            reach[better], before[better] = through[better], column
            column = int(np.where(done, np.inf, reach).argmin())
            cost = float(reach[column])
            if row_of[column] < 0:
                break
            done[column] = True
            row = int(row_of[column])
        row_price[first] += cost
        row_price[row_of[done]] += cost - reach[done]
        column_price[done] -= cost - reach[done]
        while column >= 0:
            previous = int(before[column])
            row_of[column] = first if previous < 0 else row_of[previous]
            column = previous
    found = np.flatnonzero(row_of >= 0)
    chosen = np.empty(count, np.int64)
    chosen[row_of[found]] = found
    return chosen
