"""What batches cost, as it is learnt: laws that hold whatever was observed."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from encoder_svc.scheduling.costs import BatchCosts

SIZES = st.integers(1, 64)
SECONDS = st.floats(1e-4, 10.0)
OBSERVED = st.dictionaries(SIZES, SECONDS, min_size=1, max_size=8)


def _learnt(observed: dict[int, float]) -> BatchCosts:
    costs = BatchCosts()
    for items, seconds in observed.items():
        costs.observe("group", items, seconds)
    return costs


def _rising(observed: dict[int, float]) -> dict[int, float]:
    """The same sizes, with costs that grow with them, in no more than proportion."""
    rising: dict[int, float] = {}
    before_items, before_s = 0, 0.0
    for items, seconds in zip(sorted(observed), sorted(observed.values()), strict=True):
        most_s = before_s * items / before_items if before_items else seconds
        before_items, before_s = items, max(before_s, min(seconds, most_s))
        rising[items] = before_s
    return rising


def test_nothing_is_known_of_a_group_that_never_ran() -> None:
    """No prediction, batches of one, and nobody rides."""
    costs = BatchCosts()
    assert costs.predict("group", 4) is None
    assert costs.largest_within("group", 10.0, 8) == 1
    assert costs.riders("group", 1, 8) == 0


@given(OBSERVED, SIZES, SIZES)
def test_a_larger_batch_is_never_predicted_to_be_quicker(observed: dict[int, float], one: int, other: int) -> None:
    """Where the observations rise with the size, so do predictions, between and beyond them."""
    costs = _learnt(_rising(observed))
    smaller, larger = costs.predict("group", min(one, other)), costs.predict("group", max(one, other))
    assert smaller is not None
    assert larger is not None
    assert smaller <= larger * (1 + 1e-9)


@given(OBSERVED)
def test_what_was_observed_once_is_what_is_predicted(observed: dict[int, float]) -> None:
    """At the sizes that were seen."""
    costs = _learnt(observed)
    assert {items: costs.predict("group", items) for items in observed} == observed


@given(OBSERVED, SECONDS, SIZES)
def test_the_largest_batch_keeps_to_its_bounds(observed: dict[int, float], slice_s: float, at_most: int) -> None:
    """At least one, never above the most, and within the time unless it is one."""
    costs = _learnt(observed)
    size = costs.largest_within("group", slice_s, at_most)
    assert 1 <= size <= at_most
    predicted_s = costs.predict("group", size)
    assert predicted_s is not None
    assert size == 1 or predicted_s <= slice_s


@given(OBSERVED, SECONDS, SIZES)
def test_where_costs_rise_the_next_size_would_be_too_slow(
    observed: dict[int, float], slice_s: float, at_most: int
) -> None:
    """It is the largest, and not only one that fits."""
    costs = _learnt(_rising(observed))
    size = costs.largest_within("group", slice_s, at_most)
    assume(size < at_most)
    beyond_s = costs.predict("group", size + 1)
    assert beyond_s is not None
    assert beyond_s > slice_s


@given(OBSERVED, SIZES, SIZES)
def test_riders_cost_next_to_nothing(observed: dict[int, float], items: int, at_most: int) -> None:
    """Less than a tenth of the batch, and never beyond the largest batch."""
    assume(items <= at_most)
    costs = _learnt(observed)
    riders = costs.riders("group", items, at_most)
    assert 0 <= riders <= at_most - items
    alone_s, together_s = costs.predict("group", items), costs.predict("group", items + riders)
    assert alone_s is not None
    assert together_s is not None
    assert together_s <= alone_s * 1.1 * (1 + 1e-9)


def test_one_slow_batch_changes_little_and_a_measurement_replaces_all() -> None:
    """The newest counts for a twentieth, however slow it was; what a rehearsal measured is what counts."""
    costs = BatchCosts()
    costs.observe("group", 1, 1.0)
    costs.observe("group", 1, 2.0)
    assert costs.predict("group", 1) == pytest.approx(1.05)
    costs.observe("group", 1, 1000.0)
    assert costs.predict("group", 1) == pytest.approx(1.05 * (1 + 0.05 * 3))
    costs.replace("group", 1, 5.0)
    assert costs.predict("group", 1) == pytest.approx(5.0)


def test_a_slow_spell_is_the_devices_and_no_size_is_shunned_for_it() -> None:
    """What one size shows of the pace holds for all, and passes with the spell."""
    costs = BatchCosts()
    for group, seconds in (("detect", 0.02), ("embed", 0.03)):
        costs.replace(group, 1, seconds)
        costs.replace(group, 2, 1.5 * seconds)
    for _ in range(200):
        costs.observe("detect", 1, 0.04)
    assert costs.predict("embed", 2) == pytest.approx(0.09, rel=0.01)
    for _ in range(200):
        costs.observe("detect", 1, 0.02)
    assert costs.predict("embed", 2) == pytest.approx(0.045, rel=0.01)


def test_a_picture_alone_costs_the_sum_of_its_batches() -> None:
    """At the device's pace; nothing while its way is not known."""
    costs = BatchCosts()
    assert costs.alone_s("face") == 0.0
    costs.replace("detect", 1, 0.02)
    costs.replace("embed", 2, 0.06)
    costs.way_of_a_picture("face", [("detect", 1), ("embed", 2), ("never seen", 1)])
    assert costs.alone_s("face") == pytest.approx(0.08)


def test_a_batch_that_takes_no_time_may_be_as_large_as_allowed() -> None:
    """Zero seconds are known, and not unknown."""
    costs = BatchCosts()
    costs.observe("group", 1, 0.0)
    assert costs.largest_within("group", 0.1, 8) == 8
