"""The searcher: who comes while a scan runs goes with the next one, and nobody pays for another's bad luck."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
import pytest_asyncio

from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import EVERYBODY, Hit, Wanted
from gallery_svc.rows import RowBatch, SearchProfile, half
from gallery_svc.searching import Searcher
from tessera.chassis.clock import ManualClock
from tessera.domain.embedding import Embedding
from tessera.domain.errors import ExpiredError, InvalidInputError, ModelMismatchError, OverloadedError
from tessera.domain.ids import ModelId
from tests.eventually import eventually

MODEL = ModelId("face@1")
SUBJECTS = 10_000
_RAW = np.random.default_rng(1).normal(size=(SUBJECTS, 128))
VECTORS = half(_RAW / np.linalg.norm(_RAW, axis=1, keepdims=True))
STAFF = Wanted(frozenset({"staff"}))


class GatedIndex(ExactIndex):
    """Notes each scan, and begins it only when the gate is open."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.gate = threading.Event()
        self.gate.set()
        self.scans: list[tuple[int, int, Wanted]] = []

    def search_many(self, probes: Sequence[Embedding], limit: int, wanted: Wanted = EVERYBODY) -> list[list[Hit]]:
        """As the index does, behind the gate."""
        self.scans.append((len(probes), limit, wanted))
        assert self.gate.wait(10)
        return super().search_many(probes, limit, wanted)


class NotedMetrics:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.waited_s: list[float] = []
        self.reasons: list[str] = []

    def searched(self, batch: int, waited_s: Sequence[float], scan_s: float) -> None:
        """One scan."""
        assert scan_s >= 0
        self.batches.append(batch)
        self.waited_s += waited_s

    def refused(self, why: str) -> None:
        """One refusal."""
        self.reasons.append(why)


class World:
    """A searcher over a large index, a clock that stands still, and notes of what happens."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(1)
        self.clock = ManualClock(datetime(2026, 11, 22, tzinfo=UTC))
        self.metrics = NotedMetrics()
        self.index = GatedIndex()
        self.vectors = VECTORS
        names = [f"s{number:05d}" for number in range(SUBJECTS)]
        profiles = [SearchProfile(labels=("staff",) if number % 2 else ()) for number in range(SUBJECTS)]
        self.index.load(RowBatch(names, profiles, [1] * SUBJECTS, [f"t{name}" for name in names], self.vectors))
        self.searcher = self.make()

    def make(self, max_batch: int = 64, max_queries: int = 256) -> Searcher:
        """Another searcher over the same."""
        return Searcher(
            self.threads, clock=self.clock, metrics=self.metrics, max_batch=max_batch, max_queries=max_queries
        )

    def probe(self, subject: int, model_id: ModelId = MODEL) -> Embedding:
        """The template of a subject."""
        return Embedding.from_raw(self.vectors[subject].astype(np.float32), model_id)

    async def until_scans(self, count: int) -> None:
        """Until so many scans have begun."""

        async def begun() -> bool:
            return len(self.index.scans) >= count

        await eventually(begun)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    """Put away with its thread."""
    made = World()
    yield made
    made.index.gate.set()
    made.threads.shutdown()


async def _behind(world: World, searcher: Searcher) -> asyncio.Task[list[Hit]]:
    """A search that holds the index until the gate opens."""
    world.index.gate.clear()
    first = asyncio.create_task(searcher.search(world.index, world.probe(0), 1))
    await world.until_scans(1)
    return first


async def test_32_concurrent_searches_cost_fewer_than_8_scans(world: World) -> None:
    """And each caller gets the answer that it would have got alone."""
    found = await asyncio.gather(*(world.searcher.search(world.index, world.probe(n), 3) for n in range(32)))
    assert len(world.index.scans) < 8
    assert sum(batch for batch, _, _ in world.index.scans) == 32
    alone = [ExactIndex.search_many(world.index, [world.probe(n)], 3)[0] for n in range(32)]
    assert found == alone
    assert [hits[0].subject_id for hits in found] == [f"s{n:05d}" for n in range(32)]


async def test_an_idle_index_is_searched_at_once(world: World) -> None:
    """Nobody waits for others to come: the clock stands still, and the answer is there."""
    await world.searcher.search(world.index, world.probe(1), 1)
    await world.searcher.search(world.index, world.probe(2), 1)
    assert [batch for batch, _, _ in world.index.scans] == [1, 1]
    assert world.metrics.waited_s == [0.0, 0.0]


async def test_searches_of_other_limits_go_together_and_those_of_other_filters_do_not(world: World) -> None:
    """Each gets as many hits as it asked for, of those that it wanted."""
    first = await _behind(world, world.searcher)
    wishes = [(1, EVERYBODY), (5, STAFF), (9, EVERYBODY), (2, STAFF), (4, EVERYBODY)]
    others = [
        asyncio.create_task(world.searcher.search(world.index, world.probe(7), limit, wanted))
        for limit, wanted in wishes
    ]
    await asyncio.sleep(0)
    world.index.gate.set()
    await first
    for task, (limit, wanted) in zip(others, wishes, strict=True):
        assert await task == ExactIndex.search_many(world.index, [world.probe(7)], limit, wanted)[0]
    assert world.index.scans[1:] == [(3, 9, EVERYBODY), (2, 5, STAFF)]


async def test_no_scan_takes_more_than_max_batch(world: World) -> None:
    """The others keep their places in the queue."""
    searcher = world.make(max_batch=4)
    first = await _behind(world, searcher)
    others = [asyncio.create_task(searcher.search(world.index, world.probe(n), 1)) for n in range(10)]
    await asyncio.sleep(0)
    world.index.gate.set()
    await asyncio.gather(first, *others)
    assert [batch for batch, _, _ in world.index.scans] == [1, 4, 4, 2]


async def test_a_full_queue_refuses(world: World) -> None:
    """At once and by name, and those who wait are served."""
    searcher = world.make(max_queries=3)
    first = await _behind(world, searcher)
    others = [asyncio.create_task(searcher.search(world.index, world.probe(n), 1)) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="search is full"):
        await searcher.search(world.index, world.probe(9), 1)
    world.index.gate.set()
    assert [hits[0].subject_id for hits in await asyncio.gather(first, *others)] == [
        "s00000",
        "s00000",
        "s00001",
        "s00002",
    ]
    assert world.metrics.reasons == ["full"]


async def test_expired_and_cancelled_searches_are_dropped_before_their_scan(world: World) -> None:
    """They cost nothing, and the one behind them goes on."""
    first = await _behind(world, world.searcher)
    late = asyncio.create_task(world.searcher.search(world.index, world.probe(1), 1, deadline_s=0.5))
    gone = asyncio.create_task(world.searcher.search(world.index, world.probe(2), 1))
    last = asyncio.create_task(world.searcher.search(world.index, world.probe(3), 1, deadline_s=2.0))
    await asyncio.sleep(0)
    gone.cancel()
    world.clock.advance(1.0)
    world.index.gate.set()
    await first
    with pytest.raises(ExpiredError):
        await late
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (await last)[0].subject_id == "s00003"
    assert [batch for batch, _, _ in world.index.scans] == [1, 1]
    assert sorted(world.metrics.reasons) == ["cancelled", "expired"]
    assert world.metrics.batches == [1, 1]
    assert world.metrics.waited_s == [0.0, 1.0]


async def test_a_probe_that_fails_does_not_take_the_others_with_it(world: World) -> None:
    """They are searched one by one, and the error reaches its own caller."""
    first = await _behind(world, world.searcher)
    broken = Embedding(np.ones(3, np.float32), MODEL)
    # A small product of its numbers and the templates would be searched on the spot; this one is long enough to wait.
    tasks = [asyncio.create_task(world.searcher.search(world.index, world.probe(n), 1)) for n in range(3)]
    long = Embedding(np.ones(200, np.float32), MODEL)
    bad = asyncio.create_task(world.searcher.search(world.index, long, 1))
    await asyncio.sleep(0)
    world.index.gate.set()
    await first
    assert [hits[0].subject_id for hits in await asyncio.gather(*tasks)] == ["s00000", "s00001", "s00002"]
    with pytest.raises(InvalidInputError):
        await bad
    with pytest.raises(InvalidInputError):
        await world.searcher.search(world.index, broken, 1)


async def test_another_model_is_refused_before_it_waits(world: World) -> None:
    """Whatever runs at the time."""
    first = await _behind(world, world.searcher)
    with pytest.raises(ModelMismatchError):
        await world.searcher.search(world.index, world.probe(0, ModelId("face@2")), 1)
    world.index.gate.set()
    await first


async def test_a_small_index_is_searched_on_the_spot(world: World) -> None:
    """Without a thread: it would take longer to get there."""
    small = ExactIndex(MODEL)
    small.load(RowBatch(["ada"], [SearchProfile()], [1], ["t"], world.vectors[:1]))
    world.threads.shutdown()
    assert (await world.searcher.search(small, world.probe(0), 1))[0].subject_id == "ada"


async def test_nobody_waits_for_threads_that_are_shut_down(world: World) -> None:
    """The search fails; it does not hang."""
    world.threads.shutdown()
    with pytest.raises(RuntimeError):
        await world.searcher.search(world.index, world.probe(0), 1)


async def test_two_indexes_do_not_wait_for_each_other(world: World) -> None:
    """A held scan of one lets the other be searched, as far as there are threads."""
    other = GatedIndex()
    other.load(
        RowBatch(
            [f"o{n}" for n in range(SUBJECTS)],
            [SearchProfile()] * SUBJECTS,
            [1] * SUBJECTS,
            [f"t{n}" for n in range(SUBJECTS)],
            world.vectors,
        )
    )
    with ThreadPoolExecutor(2) as threads:
        searcher = Searcher(threads, clock=world.clock)
        first = await _behind(world, searcher)
        assert (await searcher.search(other, world.probe(4), 1))[0].subject_id == "o4"
        assert not first.done()
        world.index.gate.set()
        await first
