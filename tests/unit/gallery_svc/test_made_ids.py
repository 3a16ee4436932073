"""Ids that the gallery makes: in the order of time, and none twice, whichever thread or process makes them."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from gallery_svc.ids import time_ordered_id

NOW = datetime(2026, 7, 31, 12, 0, tzinfo=UTC)


def _made(count: int) -> list[str]:
    return [time_ordered_id("ev", NOW) for _ in range(count)]


def test_ids_of_later_moments_sort_behind_earlier_ones() -> None:
    """Whatever chance adds to them."""
    moments = [NOW + timedelta(milliseconds=at) for at in range(500)]
    made = [time_ordered_id("ev", moment) for moment in moments]
    assert made == sorted(made)
    assert {len(one) for one in made} == {len("ev-") + 24}


def test_threads_never_make_the_same_id() -> None:
    """Also when they run out of random bytes at the same moment."""
    with ThreadPoolExecutor(8) as threads:
        made = [one for part in threads.map(_made, [2_000] * 8) for one in part]
    assert len(set(made)) == 16_000


def test_a_forked_process_makes_ids_of_its_own() -> None:
    """What its parent had fetched for later is not used by both."""
    _made(1)
    with multiprocessing.get_context("fork").Pool(2) as processes:
        made = [one for part in processes.map(_made, [300] * 4, chunksize=1) for one in part]
    made += _made(300)
    assert len(set(made)) == 1_500
