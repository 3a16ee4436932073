"""kill -9 of the gateway at each step of its outbox: nothing is lost, and what comes again has its key."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from benchmarks.alerts.killed_gateway import STEPS
from benchmarks.alerts.outbox import disk_full, kills

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(900)]

KILLS = 50 if os.environ.get("TESSERA_CHAOS") == "full" else 1


@pytest.fixture(scope="module", autouse=True)
def forks() -> None:
    """Gateways are forked from a process that has imported everything."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmarks.alerts.killed_gateway"])


async def test_no_step_of_the_outbox_loses_anything() -> None:
    """Each incident of two revisions comes, in order, or lies among the dead letters, under the keys that it has."""
    figures = {one.figure: one.value for one in await kills(KILLS)}
    told = {name.partition(": ")[2]: value for name, value in figures.items()}
    assert told["kills at the step killed least"] == KILLS
    assert told["notifications told"] == 2 * KILLS * len(STEPS)
    assert (told["lost"], told["under strange keys"], told["out of order"]) == (0, 0, 0)


async def test_a_full_disk_of_the_store_loses_nothing() -> None:
    """The store refuses writes; when there is room again, everything comes."""
    figures = {one.figure: one for one in await disk_full("everysec")}
    assert all(one.holds is not False for one in figures.values())
