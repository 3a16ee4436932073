"""What the benchmarks of enrolment checks and of `Verify`'s time count, and the gallery that they enrol into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.decisions.enrolling import CheckedGallery
from benchmarks.decisions.fpir import Half
from benchmarks.decisions.integrity import Alarms, Counts, shuffled, stranger, with_wrong
from benchmarks.decisions.verify_time import Block, joined, ratio
from tests.gallery_world import DIMENSIONS, MODEL, THRESHOLDS, person


def _rows(*vectors: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array(vectors, np.float32)


async def test_the_gallerys_own_checks_answer() -> None:
    """A planted duplicate is named, a stranger is not; a wrong picture is told, beside templates and among others."""
    async with CheckedGallery(THRESHOLDS, MODEL) as gallery:
        await gallery.enrol(7, _rows(person(1), person(1, 0.2)))
        await gallery.enrol(8, _rows(person(5)))
        assert await gallery.duplicates(_rows(person(1, 0.3))) == (7,)
        assert await gallery.duplicates(_rows(person(9))) == ()
        assert await gallery.duplicates(_rows(person(1)), left_out=7) == ()
        assert await gallery.duplicates(_rows(person(1)), left_out=8) == (7,)
        assert await gallery.outliers(7, _rows(person(12), person(1, 0.1))) == (True, False)
        assert await gallery.outliers(None, _rows(person(3), person(20), person(3, 0.1))) == (False, True, False)


async def test_looking_enrols_nobody() -> None:
    """A look at a stranger leaves no trace: the same stranger is nobody's duplicate the second time."""
    async with CheckedGallery(THRESHOLDS, MODEL) as gallery:
        await gallery.enrol(7, _rows(person(1)))
        for _ in range(2):
            assert await gallery.duplicates(_rows(person(9))) == ()


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_wrong_picture_is_put_among_the_right_ones(count: int, seed: int) -> None:
    """It stands where it is said to, and without it the right ones are as they were."""
    right = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    wrong = np.full(3, -1, np.float32)
    pictures, at = with_wrong(right, wrong, np.random.default_rng(seed))
    assert pictures[at].tolist() == wrong.tolist()
    assert np.delete(pictures, at, axis=0).tolist() == right.tolist()


def test_each_subject_comes_with_its_own_pictures() -> None:
    """In another order, all of them, and a stranger's picture is never the subject's own."""
    rng = np.random.default_rng(1)
    subjects = np.array([4, 2, 4, 9, 2, 4])
    half = Half(np.arange(6, dtype=np.float32)[:, None] * np.ones(DIMENSIONS, np.float32), subjects)
    asked = np.array([9, 4])
    got = {who: sorted(pictures[:, 0].tolist()) for who, pictures in shuffled(half, asked, rng)}
    assert got == {9: [3.0], 4: [0.0, 2.0, 5.0]}
    assert all(stranger(half, 4, rng)[0] in (1.0, 3.0, 4.0) for _ in range(20))


def test_shares_count_trials_and_intervals_count_subjects() -> None:
    """Four errors of one subject are worth less than four errors of four: the interval is wider."""
    one, four = Counts(), Counts()
    for trial in range(40):
        one.add(trial // 4, error=trial < 4)
        four.add(trial // 4, error=trial % 10 == 0)
    assert one.share == four.share == pytest.approx(0.1)
    assert one.interval.high > four.interval.high


def test_alarms_by_hand() -> None:
    """Two of five looks name somebody; the one about a person under two names is taken off where that is proven."""
    alarms = Alarms()
    for who, named in ((1, ()), (2, (6,)), (3, ()), (4, (7,)), (5, ())):
        alarms.add(who, named)
    assert alarms.rate() == pytest.approx(0.4)
    kept = alarms.without(lambda one, other: {one, other} == {2, 6})
    assert kept.rate() == pytest.approx(0.2)
    assert len(kept.named) == 5
    assert alarms.interval().low < 0.4 < alarms.interval().high


def test_alarms_that_name_one_person_are_hardly_more_than_one() -> None:
    """Ten strangers that are all taken for the same subject say less than ten that are taken for ten."""
    same, ten = Alarms(), Alarms()
    for who in range(200):
        same.add(who, (500,) if who < 10 else ())
        ten.add(who, (500 + who,) if who < 10 else ())
    assert same.rate() == ten.rate()
    assert same.interval().high > ten.interval().high


def test_without_an_alarm_the_rate_may_still_be_more_than_nothing() -> None:
    """Fifty looks without an alarm leave room for one in fifty."""
    none = Alarms()
    for who in range(50):
        none.add(who, ())
    assert none.rate() == 0.0
    assert none.interval().high > 0.02


def test_a_ratio_is_of_rounds() -> None:
    """One round in which the machine was busy elsewhere moves nothing; the interval is of ratios that occurred."""
    before = [1.0, 1.0, 10.0, 1.0, 1.0, 1.0, 1.0]
    value, low, high = ratio([1.1, 1.0, 1.2, 1.1, 1.0, 1.1, 50.0], before)
    assert value == pytest.approx(1.1)
    assert low <= value <= high


def test_a_round_is_told_by_the_call() -> None:
    """Processor time is shared among the calls of both blocks, and the latency is the median of all of them."""
    one = joined([Block(0.004, (0.001, 0.002)), Block(0.008, (0.003, 0.9, 0.002))])
    assert one.cpu_ms == pytest.approx(12 / 5)
    assert one.latency_ms == pytest.approx(2.0)
