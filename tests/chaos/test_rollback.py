"""A gallery whose store lost, forgot or replaced its history: the replica notices, loads again, and answers what is
there.

The galleries' replica follows a real server here. Each test takes something away behind its back, as a restored backup,
a failover to a replica that was behind, or a hand in the data does.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gallery_svc.index.exact import ExactIndex
from gallery_svc.live import LiveCollection, LoadReason
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import Deadline
from gallery_svc.replica import HISTORY_LOST, Replica
from gallery_svc.store.collection_records import ShardPosition
from gallery_svc.store.durability import Durability
from gallery_svc.store.redis import RedisStore
from tessera.chassis.clock import SystemClock
from tessera.domain.errors import NotFoundError, PositionNotReachedError
from tessera.domain.ids import SubjectId
from tests.congruence.redis_world import store_at
from tests.congruence.store_world import ADA, STAFF, audit, collection, enrollment, template
from tests.servers import client_of
from tests.valkey import PrivateServer, forcing_server

pytestmark = pytest.mark.chaos

LIMIT_S = 30.0
LOST = 2
"""Changes that the rolled-back server does not have."""
LOG = "tessera:{staff/00}:log"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateServer]:
    """A server that answers only what is on the disk."""
    with forcing_server(tmp_path / "server") as running:
        yield running


@pytest.fixture
async def store(server: PrivateServer) -> AsyncIterator[RedisStore]:
    """A store over it in which Ada is enrolled."""
    opened = store_at(server.url, durability=Durability("always"))
    await opened.prepare()
    await opened.create_collection(collection())
    await opened.enroll(enrollment(template("a1")))
    yield opened
    await opened.close()


@pytest.fixture
def metrics() -> GalleryMetrics:
    """What the replica counts in."""
    return GalleryMetrics(CollectorRegistry())


@pytest.fixture
async def replica(store: RedisStore, metrics: GalleryMetrics) -> AsyncIterator[Replica]:
    """A gallery's replica over that store."""
    following = Replica(store, ExactIndex, metrics, SystemClock())
    yield following
    await following.close()


async def _enroll(store: RedisStore, *names: str) -> None:
    for name in names:
        await store.enroll(enrollment(template(f"t-{name}"), subject_id=SubjectId(name)))


def _found(live: LiveCollection, *names: str) -> set[str]:
    return {name for name in names if SubjectId(name) in live.index}


def _loads(metrics: GalleryMetrics) -> dict[str, int]:
    """How often the index was loaded, by reason; without the first load."""
    name = "tessera_gallery_index_loads_total"
    counted = {why.value: metrics.registry.get_sample_value(name, {"why": why.value}) for why in LoadReason}
    return {why: int(count) for why, count in counted.items() if count and why != LoadReason.START}


async def _rolled_back(server: PrivateServer, lose: Callable[[], Awaitable[None]]) -> None:
    """Have the server as it was before something was written to it."""
    backup = server.folder.with_name("backup")
    server.kill()
    shutil.copytree(server.folder, backup)
    await asyncio.to_thread(server.start)
    await lose()
    server.kill()
    shutil.rmtree(server.folder)
    shutil.copytree(backup, server.folder)
    await asyncio.to_thread(server.start)


@pytest.mark.parametrize(
    "since",
    [
        pytest.param((), id="fewer changes"),
        pytest.param(("eve", "zoe"), id="as many, and others"),
        pytest.param(("eve", "zoe", "kim"), id="more, and others"),
    ],
)
async def test_a_server_that_was_rolled_back_is_believed(
    server: PrivateServer, store: RedisStore, replica: Replica, metrics: GalleryMetrics, since: tuple[str, ...]
) -> None:
    """Whoever only the lost history knew is no longer found, and whoever came since is, however long the histories."""

    async def lose() -> None:
        await _enroll(store, "bob", "lea")
        live = await replica.at_positions(STAFF, [ShardPosition(0, 3)], Deadline(SystemClock(), LIMIT_S))
        assert _found(live, "ada", "bob", "lea") == {"ada", "bob", "lea"}

    await _rolled_back(server, lose)
    await _enroll(store, *since)
    live = await replica.catch_up(STAFF)
    assert _found(live, "ada", "bob", "lea", *since) == {"ada", *since}
    assert live.index.subject_count == 1 + len(since)
    # With more changes than the index has, it is the log that does not go on from there: it tells of another history.
    assert _loads(metrics) == {LoadReason.ROLLED_BACK if len(since) <= LOST else LoadReason.TRIMMED: 1}
    assert await store.check(STAFF) == []


async def test_a_position_of_the_lost_history_is_told_as_lost(
    server: PrivateServer, store: RedisStore, replica: Replica
) -> None:
    """Not waited for until the deadline: HISTORY_LOST, with how far the store is; what is there can be asked for."""

    async def lose() -> None:
        await _enroll(store, "bob", "lea")
        await replica.at_positions(STAFF, [ShardPosition(0, 3)], Deadline(SystemClock(), LIMIT_S))

    await _rolled_back(server, lose)
    await replica.catch_up(STAFF)
    with pytest.raises(PositionNotReachedError) as refused:
        await replica.at_positions(STAFF, [ShardPosition(0, 3)], Deadline(SystemClock(), LIMIT_S))
    assert (refused.value.why, refused.value.position, refused.value.reached) == (HISTORY_LOST, 3, 1)
    assert _found(
        await replica.at_positions(STAFF, [ShardPosition(0, 1)], Deadline(SystemClock(), LIMIT_S)), "ada", "bob"
    ) == {"ada"}


async def test_a_log_that_was_trimmed_past_a_reader_is_loaded(
    store: RedisStore, replica: Replica, metrics: GalleryMetrics
) -> None:
    """trimmed: what the log no longer tells comes from the rows; who is not that far behind loads nothing."""
    await replica.collection(STAFF)
    await _enroll(store, "bob", "lea", "eve")
    await store.trim_log(STAFF, 0, 3)
    live = await replica.catch_up(STAFF)
    assert _found(live, "ada", "bob", "lea", "eve") == {"ada", "bob", "lea", "eve"}
    assert _loads(metrics) == {LoadReason.TRIMMED: 1}
    await _enroll(store, "kim")
    await store.trim_log(STAFF, 0, 4)
    assert _found(await replica.catch_up(STAFF), "kim") == {"kim"}
    assert _loads(metrics) == {LoadReason.TRIMMED: 1}


@pytest.mark.parametrize("entry", ["2-0", "3-0"])
async def test_a_log_with_a_gap_is_not_believed(
    server: PrivateServer, store: RedisStore, replica: Replica, metrics: GalleryMetrics, entry: str
) -> None:
    """The script finds that the chain does not go on there; nobody is left out of the index."""
    await replica.collection(STAFF)
    await _enroll(store, "bob", "lea", "eve")
    with client_of(server) as client:
        assert client.xdel(LOG, entry) == 1
    live = await replica.catch_up(STAFF)
    assert live.index.subject_count == 4
    assert _loads(metrics) == {LoadReason.TRIMMED: 1}


async def test_a_log_that_was_made_anew_does_not_stall_a_reader(
    server: PrivateServer, store: RedisStore, replica: Replica, metrics: GalleryMetrics
) -> None:
    """A stream that is deleted tells nobody: the head does."""
    await replica.collection(STAFF)
    await _enroll(store, "bob")
    with client_of(server) as client:
        assert client.delete(LOG) == 1
    assert _found(await replica.catch_up(STAFF), "ada", "bob") == {"ada", "bob"}
    assert _loads(metrics) == {LoadReason.TRIMMED: 1}
    await _enroll(store, "lea")
    assert _found(await replica.catch_up(STAFF), "lea") == {"lea"}


async def test_a_collection_that_was_made_anew_is_another(
    store: RedisStore, replica: Replica, metrics: GalleryMetrics
) -> None:
    """recreated: nobody of the earlier one is found, also when the new one has as many changes."""
    await replica.collection(STAFF)
    await store.delete_collection(STAFF, audit("DeleteCollection"), force=True)
    await store.create_collection(collection())
    await _enroll(store, "bob")
    live = await replica.catch_up(STAFF)
    assert _found(live, "ada", "bob") == {"bob"}
    assert live.positions[0].sequence == 1
    assert _loads(metrics) == {LoadReason.RECREATED: 1}


async def test_a_collection_that_the_backup_does_not_have_is_gone(
    server: PrivateServer, store: RedisStore, replica: Replica
) -> None:
    """A server that lost everything has no collection; the index of before answers nobody."""
    await replica.collection(STAFF)
    with client_of(server) as client:
        client.flushall()
    await store.prepare()
    with pytest.raises(NotFoundError):
        await replica.catch_up(STAFF)
    with pytest.raises(NotFoundError):
        await replica.collection(STAFF)


async def test_a_shard_that_was_repaired_is_loaded_again(
    server: PrivateServer, store: RedisStore, replica: Replica, metrics: GalleryMetrics
) -> None:
    """Its history begins anew: whom the repair took away is no longer found."""
    await _enroll(store, "bob")
    assert _found(await replica.catch_up(STAFF), "ada", "bob") == {"ada", "bob"}
    with client_of(server) as client:
        client.hset("tessera:{staff/00}:subjects", ADA, b"not sealed")
    assert [finding.subject_id for finding in await store.repair(STAFF)][:1] == [ADA]
    live = await replica.catch_up(STAFF)
    assert _found(live, "ada", "bob") == {"bob"}
    assert sum(_loads(metrics).values()) == 1
    assert await store.check(STAFF) == []
