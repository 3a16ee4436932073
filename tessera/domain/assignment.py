"""Optimal one-to-one assignment, for the handful of faces or persons that one frame holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

FORBIDDEN = -math.inf
"""The gain of a pair that may not be."""


def best_assignment(gains: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pair rows with columns so that the sum of gains is the largest.

    Args:
        gains: one row for each item on the left, one column for each on the right; finite and positive, or
            `FORBIDDEN`.

    Returns:
        (row, column) of each pair, by row; no row and no column twice, no forbidden pair.

    Source: the Hungarian method with potentials, O(n^3): Kuhn (1955), Munkres (1957).
    """
    size = max(len(gains), len(gains[0]) if gains else 0)
    costs = [[_cost(gains, row, column) for column in range(size)] for row in range(size)]
    return [
        (row, column)
        for row, column in enumerate(_solve(costs))
        if row < len(gains) and column < len(gains[row]) and gains[row][column] != FORBIDDEN
    ]


def _cost(gains: Sequence[Sequence[float]], row: int, column: int) -> float:
    # A pair that may not be is the same as leaving both alone: no gain, no cost.
    if row >= len(gains) or column >= len(gains[row]) or gains[row][column] == FORBIDDEN:
        return 0.0
    return -gains[row][column]


def _solve(costs: Sequence[Sequence[float]]) -> list[int]:
    """The column of each row of a square matrix, at the least total cost."""
    size = len(costs)
    row_price, column_price = [0.0] * (size + 1), [0.0] * (size + 1)
    row_of = [0] * (size + 1)  # by column; rows and columns count from 1, 0 is nobody
    for row in range(1, size + 1):
        _add_row(costs, row, row_price, column_price, row_of)
    column_of = [0] * size
    for column in range(1, size + 1):
        column_of[row_of[column] - 1] = column - 1
    return column_of


def _add_row(
    costs: Sequence[Sequence[float]],
    row: int,
    row_price: list[float],
    column_price: list[float],
    row_of: list[int],
) -> None:
    size = len(costs)
    slack, came_from, visited = [math.inf] * (size + 1), [0] * (size + 1), [False] * (size + 1)
    row_of[0], column = row, 0
    while row_of[column]:
        visited[column] = True
        here, step, nearest = row_of[column], math.inf, 0
        for other in range(1, size + 1):
            if visited[other]:
                continue
            reduced = costs[here - 1][other - 1] - row_price[here] - column_price[other]
            if reduced < slack[other]:
                slack[other], came_from[other] = reduced, column
            if slack[other] < step:
                step, nearest = slack[other], other
        for other in range(size + 1):
            if visited[other]:
                row_price[row_of[other]] += step
                column_price[other] -= step
            else:
                slack[other] -= step
        column = nearest
    while column:
        row_of[column] = row_of[came_from[column]]
        column = came_from[column]
