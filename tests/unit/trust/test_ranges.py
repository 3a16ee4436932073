"""Ranges are sets of whole numbers, whatever is put in and taken out."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tessera.trust.ranges import Ranges

SPANS = st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 30)), max_size=12)


@example([(True, 6, 21), (False, 21, 20)], 0, 30)
@given(SPANS, st.integers(0, 30), st.integers(0, 30))
def test_ranges_are_a_set(changes: list[tuple[bool, int, int]], first: int, last: int) -> None:
    """Against Python's own, number by number; the ranges neither overlap nor touch."""
    ranges, naive = Ranges(), set[int]()
    for adds, low, high in changes:
        numbers = range(low, high + 1)
        if adds:
            ranges.add(low, high)
            naive.update(numbers)
        else:
            ranges.remove(low, high)
            naive.difference_update(numbers)
    assert {number for number in range(31) if number in ranges} == naive
    assert len(ranges) == len(naive)
    gaps = [number for low, high in ranges.gaps(first, last) for number in range(low, high + 1)]
    assert gaps == [number for number in range(first, last + 1) if number not in naive]
    assert all(one[1] + 1 < two[0] for one, two in zip(ranges.spans, ranges.spans[1:], strict=False))
    assert Ranges(ranges.spans) == ranges
