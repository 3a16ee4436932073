"""The assignment of a frame's faces, against trying every way."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.assignment import FORBIDDEN, best_assignment

Gains = list[list[float]]


@st.composite
def gain_tables(draw: st.DrawFn) -> Gains:
    rows, columns = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    gain = st.one_of(st.just(FORBIDDEN), st.floats(0.01, 4.0))
    return [[draw(gain) for _ in range(columns)] for _ in range(rows)]


def naive_best(gains: Gains) -> float:
    """The largest sum over every way to pair rows with columns or leave them alone."""
    columns = len(gains[0]) if gains else 0
    places = [*range(columns), *([None] * len(gains))]
    return max(
        sum(gains[row][column] for row, column in enumerate(way) if column is not None)
        for way in set(itertools.permutations(places, len(gains)))
        if all(column is None or gains[row][column] != FORBIDDEN for row, column in enumerate(way))
    )


@given(gain_tables())
def test_no_other_way_gains_more(gains: Gains) -> None:
    """The pairs reach the sum that trying every way finds; nobody is paired twice or against a prohibition."""
    pairs = best_assignment(gains)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert all(gains[row][column] != FORBIDDEN for row, column in pairs)
    assert sum(gains[row][column] for row, column in pairs) == pytest.approx(naive_best(gains))


def test_the_sum_counts_and_not_the_first_best() -> None:
    """The pair that gains most is given up where two others gain more together."""
    assert best_assignment([[3.0, 2.5], [2.5, FORBIDDEN]]) == [(0, 1), (1, 0)]
