"""Two cameras' clocks are told apart by what both saw, or not at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.domain.alignment_in_time import OffsetDoubt, estimate_offset, pair_in_time
from tessera.domain.errors import InvalidInputError

DAY_S = 1_795_000_000.0


def events(count: int, seed: int, span_s: float = 600.0) -> np.ndarray:
    """Times at which something happened, as chance has them."""
    return np.sort(np.random.default_rng(seed).uniform(0.0, span_s, count)) + DAY_S


@settings(max_examples=30)
@given(offset_s=st.floats(-25.0, 25.0), seed=st.integers(0, 1000))
def test_a_planted_offset_is_found(offset_s: float, seed: int) -> None:
    """Whatever the offset within the limit, it is found to a fraction of the jitter, though each camera missed a third
    of the events and saw some of its own.
    """
    rng = np.random.default_rng(seed)
    both = events(60, seed)
    first = np.concatenate([both[rng.random(60) < 0.7], events(15, seed + 1)])
    second = np.concatenate([both[rng.random(60) < 0.7], events(15, seed + 2)]) + offset_s
    found = estimate_offset(first, second + rng.normal(0.0, 0.02, second.size), 30.0)
    assert found.doubt is None
    assert found.offset_s == pytest.approx(offset_s, abs=0.05)
    assert found.spread_s < 0.1


def test_swapping_the_cameras_turns_the_sign() -> None:
    """The offset of the first to the second is the opposite of that of the second to the first."""
    first, second = events(40, 1), events(40, 1) + 3.21
    there, back = estimate_offset(first, second, 10.0), estimate_offset(second, first, 10.0)
    assert there.offset_s == pytest.approx(-back.offset_s)
    assert there.coincidences == back.coincidences == 40


@pytest.mark.parametrize("seed", range(20))
def test_cameras_that_saw_different_things_get_no_offset(seed: int) -> None:
    """Events that have nothing to do with each other coincide at some lag; that is known for chance."""
    found = estimate_offset(events(60, seed), events(60, seed + 500), 30.0)
    assert found.doubt is not None


def test_events_at_a_steady_pace_are_ambiguous() -> None:
    """What happens each ten seconds fits at each ten seconds' lag: no offset is named as sure."""
    pace = DAY_S + 10.0 * np.arange(50)
    assert estimate_offset(pace, pace + 2.0, 30.0).doubt is OffsetDoubt.AMBIGUOUS


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [1.0]), ([1.0, 2.0, 4.5], [1.0, 2.0, 4.5])])
def test_few_events_prove_nothing(first: list[float], second: list[float]) -> None:
    """With fewer than four coincidences the offset is told with a doubt, or is no number."""
    found = estimate_offset(first, second, 10.0)
    assert found.doubt is OffsetDoubt.TOO_FEW_EVENTS
    assert found.coincidences == len(first) or math.isnan(found.offset_s)


def test_a_burst_on_one_side_makes_no_peak() -> None:
    """A hundred events of one camera beside one of the other are one coincidence, not a hundred."""
    both = events(30, 3)
    burst = both[0] + 7.0 + np.linspace(0.0, 0.05, 100)
    found = estimate_offset(np.concatenate([both, burst]), both + 1.5, 20.0)
    assert found.offset_s == pytest.approx(1.5, abs=0.01)


@pytest.mark.parametrize(
    ("first", "limit_s", "tolerance_s"), [([np.nan], 1.0, 0.1), ([[1.0]], 1.0, 0.1), ([1.0], 0.05, 0.1), ([1.0], 1, 0)]
)
def test_what_is_no_time_is_told(first: list[float], limit_s: float, tolerance_s: float) -> None:
    """Times that are not finite and limits that make no sense are errors that name the field."""
    with pytest.raises(InvalidInputError):
        estimate_offset(first, [1.0], limit_s, tolerance_s)


times = st.lists(st.integers(0, 200), max_size=25).map(lambda ticks: np.sort(np.array(ticks, dtype=float)) / 10.0)


@given(first=times, second=times, tolerance=st.integers(0, 10))
def test_pairs_are_those_of_the_plain_loop(first: np.ndarray, second: np.ndarray, tolerance: int) -> None:
    """Each pair is the one in which each is the other's nearest, as a loop over all of them says."""
    rows, partners = pair_in_time(first, second, tolerance / 10.0)
    expected = []
    for row, time in enumerate(first):
        if not second.size:
            break
        nearest = min(range(second.size), key=lambda at: (abs(second[at] - time), at))
        back = min(range(first.size), key=lambda at, near=nearest: (abs(first[at] - second[near]), at))
        if back == row and abs(second[nearest] - time) <= tolerance / 10.0:
            expected.append((row, nearest))
    assert list(zip(rows.tolist(), partners.tolist(), strict=True)) == expected


@given(first=times, second=times)
def test_no_frame_is_used_twice_and_order_is_kept(first: np.ndarray, second: np.ndarray) -> None:
    """Both sides of the pairs rise strictly."""
    rows, partners = pair_in_time(first, second, 0.5)
    assert bool((np.diff(rows) > 0).all())
    assert bool((np.diff(partners) > 0).all())


def test_frames_of_two_rates_pair_after_the_offset() -> None:
    """A 10 and a 25 frames/s camera, 3.3 s apart: each slow frame has its nearest fast one."""
    slow, fast = DAY_S + 0.1 * np.arange(50), DAY_S + 3.3 + 0.04 * np.arange(125)
    rows, partners = pair_in_time(slow, fast, 0.021, 3.3)
    assert rows.size == 50
    assert np.abs(fast[partners] - 3.3 - slow[rows]).max() <= 0.021


def test_falling_times_are_told() -> None:
    """Frames out of order are an error: pairing would be wrong without a word."""
    with pytest.raises(InvalidInputError):
        pair_in_time([2.0, 1.0], [1.0], 0.1)
