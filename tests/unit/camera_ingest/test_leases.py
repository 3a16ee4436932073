"""Leases: even shares, nothing watched by two, nobody buried alive, tokens that only grow."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from camera_ingest.leases.keeper import LeaseKeeper, LeaseTiming
from camera_ingest.leases.process_mark import is_gone, own_mark
from camera_ingest.leases.sharing import Load, fair_shares
from camera_ingest.leases.table import (
    LeaseTable,
    MemoryLeaseTable,
    RedisLeaseTable,
    TableView,
    WorkerId,
    WorkerRow,
)
from camera_ingest.metrics import IngestMetrics
from camera_ingest.store import KEYS, StoreConnection
from tessera.chassis.clock import ManualClock
from tessera.domain.errors import UnavailableError
from tessera.domain.ids import CameraId
from tests.servers import client_of, running_cluster, running_sentinels
from tests.valkey import running_server

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
SIX = [CameraId(f"cam-{number}") for number in range(6)]
A, B = WorkerId("a"), WorkerId("b")
ROW = WorkerRow(1, "10.0.0.1:7003", 64)

loads = st.dictionaries(
    st.text("abcdef", min_size=1).map(WorkerId), st.builds(Load, st.integers(0, 40), st.integers(0, 40)), max_size=6
)


# ---- shares


@given(loads, st.integers(0, 120))
def test_shares_are_as_even_as_room_allows(load: dict[WorkerId, Load], cameras: int) -> None:
    """Every camera for which there is room is somebody's; two fewer than another has only who is full."""
    shares = fair_shares(load, cameras)
    assert shares.keys() == load.keys()
    assert sum(shares.values()) == min(cameras, sum(one.capacity for one in load.values()))
    assert all(0 <= shares[worker] <= load[worker].capacity for worker in load)
    most = max(shares.values(), default=0)
    assert all(most - share <= 1 or share == load[worker].capacity for worker, share in shares.items())


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_even_shares_ask_nobody_to_give_back(extra: list[int]) -> None:
    """Where holdings differ by one at most already, each worker's share is what it holds."""
    held = [3 + (number % 2) for number in extra]
    load = {WorkerId(f"w{at}"): Load(count, 64) for at, count in enumerate(held)}
    assert list(fair_shares(load, sum(held)).values()) == held


# ---- the table


class CutTable:
    """A table whose store can be away."""

    is_shared = True

    def __init__(self, table: LeaseTable) -> None:
        self._table = table
        self.is_away = False

    def _ask(self) -> None:
        if self.is_away:
            raise UnavailableError("store", "cut")

    async def beat(self, me: WorkerId, row: WorkerRow) -> TableView:
        self._ask()
        return await self._table.beat(me, row)

    async def take(self, me: WorkerId, floors: Mapping[CameraId, int]) -> Mapping[CameraId, int]:
        self._ask()
        return await self._table.take(me, floors)

    async def give_back(self, me: WorkerId, tokens: Mapping[CameraId, int]) -> None:
        self._ask()
        await self._table.give_back(me, tokens)

    async def bury(self, worker: WorkerId, row: WorkerRow) -> bool:
        self._ask()
        return await self._table.bury(worker, row)

    async def leave(self, me: WorkerId) -> None:
        self._ask()
        await self._table.leave(me)


async def assert_keeps_leases(table: LeaseTable) -> None:
    """What every table does."""
    door = SIX[0]
    assert await table.take(A, {door: 0}) == {}  # nobody takes who has not beaten
    await table.beat(A, ROW)
    await table.beat(B, ROW)
    first = (await table.take(A, {door: 0}))[door]
    assert await table.take(B, {door: 0}) == {}
    assert await table.take(A, {door: 0}) == {door: first}  # an answer that was lost
    raised = (await table.take(A, {door: first + 7}))[door]
    assert raised > first + 7
    await table.give_back(B, {door: raised})
    await table.give_back(A, {door: first})
    view = await table.beat(A, ROW)
    assert (view.leases[door].holder, view.leases[door].token) == (A, raised)
    await table.give_back(A, {door: raised})
    second = (await table.take(B, {door: 0}))[door]
    assert second > raised
    assert not await table.bury(B, WorkerRow(2, ROW.address, ROW.capacity))  # it has beaten since
    assert await table.bury(B, ROW)
    assert (await table.take(A, {door: 0}))[door] > second
    await table.leave(A)
    assert (await table.beat(B, ROW)).leases == {}


async def test_both_tables_keep_leases_alike(tmp_path: Path) -> None:
    """Memory and a real Valkey give, refuse, raise and free in the same way."""
    memory = MemoryLeaseTable(ManualClock(NOON))
    await memory.beat(A, ROW)
    await memory.leave(A)
    with running_server(tmp_path) as server:
        store = StoreConnection(server.url)
        await assert_keeps_leases(RedisLeaseTable(store))
        await store.close()


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_leases_live_on_sentinels_and_clusters(tmp_path: Path, kind: str) -> None:
    """One script reaches cameras and leases together: their keys share a hash tag."""
    with running_sentinels(tmp_path) if kind == "sentinel" else running_cluster(tmp_path) as group:
        store = StoreConnection(group.address)
        await assert_keeps_leases(RedisLeaseTable(store))
        await store.close()


async def test_tokens_go_on_after_the_store_lost_them(tmp_path: Path) -> None:
    """A store that lost everything gives tokens above those it gave: they are not below its time."""
    with running_server(tmp_path) as server, client_of(server) as client:
        store = StoreConnection(server.url)
        table = RedisLeaseTable(store)
        await table.beat(A, ROW)
        before = await table.take(A, dict.fromkeys(SIX, 0))
        client.flushall()
        await table.beat(A, ROW)
        after = await table.take(A, {SIX[0]: 0})
        assert after[SIX[0]] > max(before.values())
        assert client.hlen(KEYS[2]) == 1
        await store.close()


# ---- keepers


@dataclass
class House:
    """Workers that share a table, on clocks that a test moves."""

    table: LeaseTable
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOON))
    keepers: list[LeaseKeeper] = field(default_factory=list)
    tables: list[CutTable] = field(default_factory=list)

    def join(self, capacity: int = 64, process: str = "") -> LeaseKeeper:
        table = CutTable(self.table)
        keeper = LeaseKeeper(
            table,
            name="worker",
            capacity=capacity,
            clock=self.clock,
            metrics=IngestMetrics(CollectorRegistry()),
            timing=LeaseTiming(5.0, 1.0),
            process=process,
        )
        keeper.listen_at(f"10.0.0.{len(self.keepers)}:7003")
        keeper.want(SIX)
        self.tables.append(table)
        self.keepers.append(keeper)
        return keeper

    async def pass_time(self, seconds: float, *silent: LeaseKeeper) -> None:
        """Each second each worker beats, gives back what it is asked to, and nothing is held by two."""
        for _ in range(round(seconds)):
            self.clock.advance(1.0)
            for keeper in self.keepers:
                if keeper in silent:
                    continue
                try:
                    await keeper.beat()
                    await keeper.give_back([keeper.held()[key] for key in keeper.leaving()])
                except UnavailableError:
                    pass
                self.assert_held_once()

    def assert_held_once(self) -> None:
        held = [camera for keeper in self.keepers for camera in keeper.held()]
        assert len(held) == len(set(held))

    def counts(self) -> list[int]:
        return [len(keeper.held()) for keeper in self.keepers]


@pytest.fixture(params=["memory", "valkey"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    if request.param == "memory":
        yield House(MemoryLeaseTable(ManualClock(NOON)))
        return
    with running_server(tmp_path) as server:
        store = StoreConnection(server.url)
        yield House(RedisLeaseTable(store))
        await store.close()


async def test_workers_that_start_together_share_evenly(house: House) -> None:
    """Each waits a beat until it has seen the others; nothing moves after that."""
    for _ in range(3):
        house.join()
    await house.pass_time(2)
    assert house.counts() == [2, 2, 2]
    tokens = [lease.token for keeper in house.keepers for lease in keeper.held().values()]
    await house.pass_time(30)
    assert [lease.token for keeper in house.keepers for lease in keeper.held().values()] == tokens


async def test_a_dead_workers_cameras_move_within_ten_seconds(house: House) -> None:
    """Its silence is counted by the others' own clocks."""
    first, second = house.join(), house.join()
    await house.pass_time(3)
    assert house.counts() == [3, 3]
    tokens = {key: lease.token for key, lease in second.held().items()}
    await house.pass_time(7, second)
    assert house.counts() == [6, 0]
    assert all(first.held()[key].token > token for key, token in tokens.items())


async def test_a_newcomer_gets_its_share_in_one_move(house: House) -> None:
    """Cameras are given back once the same workers were there for a while; those that stay keep their leases."""
    first = house.join()
    await house.pass_time(3)
    tokens = {key: lease.token for key, lease in first.held().items()}
    house.join()
    await house.pass_time(5)
    assert house.counts() == [6, 0]
    await house.pass_time(6)
    assert house.counts() == [3, 3]
    assert {key: lease.token for key, lease in first.held().items()}.items() <= tokens.items()
    await house.pass_time(20)
    assert house.counts() == [3, 3]


async def test_a_worker_that_comes_and_goes_moves_nothing(house: House) -> None:
    """A newcomer that dies at once costs those that stay no camera."""
    first = house.join()
    await house.pass_time(3)
    tokens = {key: lease.token for key, lease in first.held().items()}
    newcomer = house.join()
    await house.pass_time(2)
    await house.pass_time(15, newcomer)
    assert {key: lease.token for key, lease in first.held().items()} == tokens


async def test_without_the_store_a_worker_stops_in_time(house: House) -> None:
    """It holds nothing when its lease has run out on its own clock; that is before another one may take it."""
    first, second = house.join(), house.join()
    await house.pass_time(3)
    lease = next(iter(first.held().values()))
    house.tables[0].is_away = True
    await house.pass_time(3)
    assert lease.is_held
    await house.pass_time(1)
    assert not lease.is_held
    assert house.counts() == [0, 3]
    await house.pass_time(4)
    assert house.counts() == [0, 6]
    house.tables[0].is_away = False
    await house.pass_time(15)
    assert house.counts() == [3, 3]
    assert not lease.is_held
    assert len(second.held()) == 3


async def test_when_the_store_was_away_from_all_nobody_is_buried(house: House) -> None:
    """All stop, and all go on with the leases that they had: nobody could beat, so that nobody was silent."""
    house.join()
    house.join()
    await house.pass_time(3)
    tokens = [{key: lease.token for key, lease in keeper.held().items()} for keeper in house.keepers]
    for table in house.tables:
        table.is_away = True
    await house.pass_time(60)
    assert house.counts() == [0, 0]
    for table in house.tables:
        table.is_away = False
    await house.pass_time(1)
    assert [{key: lease.token for key, lease in keeper.held().items()} for keeper in house.keepers] == tokens
    await house.pass_time(20)
    assert house.counts() == [3, 3]


async def test_the_time_of_day_moves_no_camera() -> None:
    """An hour forward or back, at a worker or at the store: leases stay, and tokens still grow."""
    day = ManualClock(NOON)
    house = House(MemoryLeaseTable(day))
    house.join()
    house.join()
    await house.pass_time(3)
    tokens = [{key: lease.token for key, lease in keeper.held().items()} for keeper in house.keepers]
    for jump in (timedelta(hours=1), timedelta(hours=-2)):
        day._now += jump
        house.clock._now += jump
        await house.pass_time(10)
        assert [{key: lease.token for key, lease in keeper.held().items()} for keeper in house.keepers] == tokens
    await house.pass_time(8, house.keepers[1])
    assert house.counts() == [6, 0]
    assert all(
        lease.token > max(tokens[1].values()) for key, lease in house.keepers[0].held().items() if key in tokens[1]
    )


async def test_no_more_is_taken_than_there_is_room_for(house: House) -> None:
    """What is over waits; with another worker it is watched."""
    house.join(capacity=4)
    await house.pass_time(3)
    assert house.counts() == [4]
    assert house.keepers[0].total_capacity == 4
    house.join(capacity=4)
    await house.pass_time(12)
    assert sorted(house.counts()) == [3, 3]


async def test_a_token_is_raised_when_the_gallery_knows_a_newer_one(house: House) -> None:
    """The store lost its tokens, and its clock was set back: whose camera it is takes a token above all of them."""
    keeper = house.join()
    await house.pass_time(2)
    lease = keeper.held()[SIX[0]]
    newest = lease.token + 10**12
    keeper.superseded(SIX[0], newest)
    await house.pass_time(1)
    assert keeper.held()[SIX[0]] is lease
    assert lease.token > newest
    assert lease.is_held


async def test_who_was_superseded_holds_no_longer(house: House) -> None:
    """A worker that was paused learns at its next beat that others have its cameras, and until then holds nothing."""
    paused = house.join()
    house.join()
    await house.pass_time(3)
    lease = next(iter(paused.held().values()))
    await house.pass_time(8, paused)
    assert not lease.is_held
    paused.superseded(lease.camera_id, lease.token + 1)
    await house.pass_time(1)
    assert not lease.is_held
    await house.pass_time(12)
    assert house.counts() == [3, 3]


async def test_the_table_does_not_grow(tmp_path: Path) -> None:
    """Workers that die leave nothing behind once they are buried."""
    with running_server(tmp_path) as server, client_of(server) as client:
        store = StoreConnection(server.url)
        house = House(RedisLeaseTable(store))
        survivor = house.join()
        for _ in range(3):
            visitor = house.join()
            await house.pass_time(2)
            await house.pass_time(8, visitor)
            house.keepers.remove(visitor)
        assert (client.hlen(KEYS[3]), client.hlen(KEYS[2])) == (1, 6)
        await survivor.leave()
        assert (client.hlen(KEYS[3]), client.hlen(KEYS[2])) == (0, 0)
        await store.close()


def test_all_keys_share_one_hash_tag() -> None:
    """The tag is the whole name of the hash that was there first: a cluster keeps them on one server."""
    assert all(key.startswith(f"{{{KEYS[0]}}}:") for key in KEYS[1:])


async def test_workers_of_one_name_and_port_are_two(house: House) -> None:
    """Two containers of one image: neither holds what the other one took."""
    first, second = house.join(), house.join()
    second.listen_at(first.address)
    assert first.me != second.me
    await house.pass_time(3)
    assert house.counts() == [3, 3]


async def test_a_process_that_is_certainly_dead_is_not_waited_for(house: House) -> None:
    """On the same machine the kernel knows; a process that only hangs keeps its cameras for as long as its lease."""
    house.join()
    child = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        doomed = house.join(process=mark_of(child.pid))
        await house.pass_time(3)
        child.send_signal(signal.SIGSTOP)
        await house.pass_time(4, doomed)
        assert house.counts()[0] == 3
    finally:
        child.kill()
        await child.wait()
    house.keepers.remove(doomed)  # it was in that process
    await house.pass_time(1)
    assert house.counts() == [6]


def mark_of(pid: int) -> str:
    """Another process's mark, as it would make it itself."""
    place, own_pid, _ = own_mark().split("/")
    assert own_pid == str(os.getpid())
    started = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
    return f"{place}/{pid}/{started}"


def test_only_what_is_certainly_dead_is_gone() -> None:
    """Not this process, nor one of another boot or namespace, nor what is no mark; a number that was given anew is."""
    mark = own_mark()
    place, pid, started = mark.split("/")
    assert not is_gone(mark)
    assert is_gone(f"{place}/{pid}/{int(started) + 1}")
    with subprocess.Popen(["sleep", "600"]) as child:
        mark = mark_of(child.pid)
        assert not is_gone(mark)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped yet
        assert is_gone(mark)
    assert is_gone(mark)
    for other in ("", "x", f"elsewhere:1/{pid}/{started}", f"{place}/x/1", f"{place}/"):
        assert not is_gone(other)
