"""The door while the primary moves: no write is told as done that is not there, and none is carried out twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gallery_svc.store.durability import Durability
from gallery_svc.store.lua import Script
from gallery_svc.store.redis_door import RedisDoor, open_door
from gallery_svc.store.slots import slot_of
from tessera.domain.errors import OutcomeUnknownError, UnavailableError
from tests.eventually import eventually
from tests.servers import (
    KINDS,
    PrivateCluster,
    PrivateServer,
    SentinelGroup,
    binary_of,
    client_of,
    running_cluster,
    running_sentinels,
)

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

SCRIPTS = {
    "count": Script.of("#!lua flags=\nreturn {'ok', redis.call('INCR', KEYS[1])}"),
    "both": Script.of("#!lua flags=\nredis.call('INCR', KEYS[2])\nreturn {'ok', redis.call('INCR', KEYS[1])}"),
    "look": Script.of("#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])"),
}
WAITING = Durability("everysec", replicas_to_wait=1, replica_timeout_s=0.3)
ALONE = Durability("everysec")
BACK_WITHIN_S = 45.0


@contextlib.asynccontextmanager
async def _door(address: str, durability: Durability = WAITING) -> AsyncIterator[RedisDoor]:
    door = open_door(address, durability, timeout_s=1.0, scripts=SCRIPTS)
    try:
        yield door
    finally:
        await door.close()


def _count(tag: str) -> str:
    return f"tessera:{{{tag}}}:count"


@dataclass(slots=True)
class Ledger:
    """What writers were told, tag by tag."""

    acknowledged: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)

    async def write(self, door: RedisDoor, tag: str) -> bool:
        """Count once; True when it was acknowledged."""
        try:
            await door.write("count", [_count(tag)], [], "req")
        except OutcomeUnknownError as error:
            self.unknown[tag] += 1
            self.causes[error.cause] += 1
        except UnavailableError:
            self.causes["UNAVAILABLE"] += 1
        else:
            self.acknowledged[tag] += 1
            return True
        return False

    async def write_on(self, door: RedisDoor, tag: str, ended: asyncio.Event) -> None:
        """Count until the end."""
        while not ended.is_set():
            if not await self.write(door, tag):
                await asyncio.sleep(0.01)

    async def holds(self, door: RedisDoor) -> None:
        """Everything that was acknowledged is there, and nothing that nobody was told of."""
        for tag in self.acknowledged | self.unknown:
            there = int(await door.run("look", [_count(tag)], []) or 0)
            assert self.acknowledged[tag] <= there <= self.acknowledged[tag] + self.unknown[tag], (tag, self.causes)


@contextlib.asynccontextmanager
async def _writers(door: RedisDoor, ledger: Ledger, tags: list[str]) -> AsyncIterator[None]:
    ended = asyncio.Event()
    tasks = [asyncio.create_task(ledger.write_on(door, tag, ended)) for tag in tags]
    try:
        yield
    finally:
        ended.set()
        await asyncio.gather(*tasks)


async def _is(state: bool) -> bool:
    return state


async def _more_of(ledger: Ledger, tag: str) -> None:
    """Wait until another write of this tag is acknowledged."""
    before = ledger.acknowledged[tag]
    await eventually(lambda: _is(ledger.acknowledged[tag] > before), BACK_WITHIN_S)


# ---- Sentinel


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[SentinelGroup]:
    """Two servers and three Sentinels."""
    with running_sentinels(tmp_path) as group:
        yield group


async def test_the_door_finds_the_primary_that_sentinel_chose_after_a_kill(sentinels: SentinelGroup) -> None:
    """Between the kill and the failover nothing is told as done; afterwards what was acknowledged is there."""
    ledger, (old, new) = Ledger(), (sentinels.servers.primary, sentinels.servers.replica)
    async with _door(sentinels.address) as door:
        await door.prepare()
        async with _writers(door, ledger, ["a"]):
            await _more_of(ledger, "a")
            old.kill()
            before = ledger.acknowledged["a"]
            await eventually(lambda: _is(ledger.causes["WAIT"] > 0), BACK_WITHIN_S)  # the new one, and nobody follows
            assert ledger.acknowledged["a"] <= before + 1  # the one that was answered as it died
            old.options = ("--replicaof", "127.0.0.1", str(new.port))
            old.start()
            await _more_of(ledger, "a")
        await ledger.holds(door)
        assert [node.address for node in await door.nodes()] == [f"127.0.0.1:{server.port}" for server in (new, old)]


async def test_a_switch_between_living_servers_loses_nothing(sentinels: SentinelGroup) -> None:
    """What the old primary still takes is unknown, then it answers READONLY: the door asks for the new one."""
    ledger, tags = Ledger(), ["a", "b", "c"]
    old, new = sentinels.servers.primary, sentinels.servers.replica
    async with _door(sentinels.address) as door:
        async with _writers(door, ledger, tags):
            await _more_of(ledger, "a")
            with client_of(sentinels.sentinels[0]) as client:
                client.execute_command("SENTINEL", "FAILOVER", "main")
            await eventually(lambda: _is(sentinels.primary_port() == new.port))
            with client_of(old) as client:  # Sentinel does so, too, after some ten seconds
                client.replicaof("127.0.0.1", new.port)
            for tag in tags:
                await _more_of(ledger, tag)
        await ledger.holds(door)
        assert (await door.nodes())[0].address == f"127.0.0.1:{new.port}"


async def test_a_sentinel_that_is_away_is_passed_over(sentinels: SentinelGroup) -> None:
    """The others are asked; when none is left the store is away, and a known primary still serves."""
    async with _door(sentinels.address, ALONE) as door, _door(sentinels.address, ALONE) as other:
        sentinels.sentinels[0].kill()
        assert await door.write("count", [_count("a")], []) == [b"ok", 1]
        for sentinel in sentinels.sentinels[1:]:
            sentinel.kill()
        assert await door.write("count", [_count("a")], []) == [b"ok", 2]
        with pytest.raises(UnavailableError, match="nobody tells"):
            await other.write("count", [_count("a")], [])


async def test_a_name_that_sentinel_does_not_know_is_told(sentinels: SentinelGroup) -> None:
    """The error names what was asked for."""
    async with _door(sentinels.address.replace("/main/", "/other/")) as door:
        with pytest.raises(UnavailableError, match="'other'"):
            await door.prepare()


# ---- Cluster


@pytest.fixture(scope="module", params=KINDS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateCluster]:
    """Six servers of each kind."""
    binary = binary_of(request.param)
    if binary is None:
        pytest.skip(f"{request.param} is not installed: that the door works with its cluster stays unproved")
    with running_cluster(tmp_path_factory.mktemp(request.param), binary) as running:
        yield running


@pytest.fixture
def peaceful(cluster: PrivateCluster) -> PrivateCluster:
    """The cluster, at peace and empty; a test before may have exchanged primaries and replicas."""
    cluster.settle()
    for server in (*cluster.primaries, *cluster.replicas):
        with client_of(server) as client:
            if client.execute_command("ROLE")[0] == b"master":
                client.flushall()
    return cluster


TAGS = [f"staff/{shard:02}" for shard in range(16)]


async def test_scripts_land_where_their_tag_lives(peaceful: PrivateCluster) -> None:
    """Sixteen shards spread over three primaries; each count is right, and every node is known and in order."""
    async with _door(peaceful.address) as door:
        await door.prepare()
        for _ in range(3):
            await asyncio.gather(*(door.write("count", [_count(tag)], []) for tag in TAGS))
        for tag in TAGS:
            assert await door.read(tag, [("GET", _count(tag)), ("PING",)]) == [b"3", b"PONG"]
        roles = Counter(node.role for node in await door.nodes())
        assert roles == {"primary": 3, "replica": 3}
    assert all(_keys_of(server) > 0 for server in _primaries(peaceful))


async def test_a_failover_under_writes_loses_and_doubles_nothing(peaceful: PrivateCluster) -> None:
    """CLUSTER FAILOVER exchanges a primary and its replica: writers are sent on, and go on."""
    ledger = Ledger()
    async with _door(peaceful.address) as door:
        async with _writers(door, ledger, TAGS):
            for tag in TAGS:
                await _more_of(ledger, tag)
            replica = next(server for server in _all(peaceful) if not _is_primary(server))
            with client_of(replica) as client:
                client.execute_command("CLUSTER", "FAILOVER")
            await eventually(lambda: _is(_is_primary(replica)))
            for tag in TAGS:
                await _more_of(ledger, tag)
        await ledger.holds(door)
        assert f"127.0.0.1:{replica.port}" in [node.address for node in await door.nodes() if node.role == "primary"]


async def test_a_slot_on_its_way_is_followed(peaceful: PrivateCluster) -> None:
    """ASK while it moves, MOVED when it has moved: each write is carried out once, on the server that has the slot."""
    tag = "wanderer/00"
    source, target = _holder(peaceful, tag), next(one for one in _primaries(peaceful) if not _holds(one, tag))
    slot = slot_of(tag)
    async with _door(peaceful.address, ALONE) as door:
        assert await door.run("look", [_count(tag)], []) is None  # the map is known from here on
        with client_of(source) as old, client_of(target) as new:
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", old.execute_command("CLUSTER", "MYID"))
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", new.execute_command("CLUSTER", "MYID"))
            assert await door.write("count", [_count(tag)], []) == [b"ok", 1]  # ASK, NOSCRIPT, and its text
            assert await door.write("count", [_count(tag)], []) == [b"ok", 2]  # ASK
            assert await door.read(tag, [("GET", _count(tag)), ("STRLEN", _count(tag))]) == [b"2", 1]
            with pytest.raises(UnavailableError, match="TRYAGAIN"):  # one of two keys is there
                await door.write("both", [_count(tag), f"tessera:{{{tag}}}:other"], [])
            for server in (new, old):
                server.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new.execute_command("CLUSTER", "MYID"))
        assert await door.write("count", [_count(tag)], []) == [b"ok", 3]  # MOVED
        assert await door.write("both", [_count(tag), f"tessera:{{{tag}}}:other"], []) == [b"ok", 4]


async def test_a_killed_primary_costs_its_own_shards_some_seconds(tmp_path: Path) -> None:
    """Shards of other primaries go on at once; those of the killed one come back, and nothing acknowledged is lost."""
    ledger = Ledger()
    with running_cluster(tmp_path) as cluster:
        victim = cluster.primaries[0]
        theirs = [tag for tag in TAGS if _holds(victim, tag)]
        others = [tag for tag in TAGS if tag not in theirs]
        assert theirs
        assert others
        async with _door(cluster.address) as door:
            async with _writers(door, ledger, TAGS):
                for tag in TAGS:
                    await _more_of(ledger, tag)
                victim.kill()
                for tag in others:
                    await _more_of(ledger, tag)
                cause = Counter(ledger.causes)
                heir = cluster.replicas[0]
                await eventually(lambda: _is(_is_primary(heir)), BACK_WITHIN_S)
                await eventually(lambda: _is(ledger.causes["WAIT"] > cause["WAIT"]), BACK_WITHIN_S)  # nobody follows
            await ledger.holds(door)
            told = {node.address: node.reachable for node in await door.nodes()}
        assert told[f"127.0.0.1:{heir.port}"]
        assert not told.get(f"127.0.0.1:{victim.port}", False)


def _all(cluster: PrivateCluster) -> tuple[PrivateServer, ...]:
    return (*cluster.primaries, *cluster.replicas)


def _is_primary(server: PrivateServer) -> bool:
    with client_of(server) as client:
        return bool(client.execute_command("ROLE")[0] == b"master")


def _primaries(cluster: PrivateCluster) -> list[PrivateServer]:
    return [server for server in _all(cluster) if _is_primary(server)]


def _keys_of(server: PrivateServer) -> int:
    with client_of(server) as client:
        return int(client.dbsize())


def _holds(server: PrivateServer, tag: str) -> bool:
    with client_of(server) as client:
        ranges = client.execute_command("CLUSTER", "SLOTS")
    return any(first <= slot_of(tag) <= last and primary[1] == server.port for first, last, primary, *_ in ranges)


def _holder(cluster: PrivateCluster, tag: str) -> PrivateServer:
    return next(server for server in _primaries(cluster) if _holds(server, tag))
