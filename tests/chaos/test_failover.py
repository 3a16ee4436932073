"""A primary that dies while its replica is behind: what WAIT confirmed survives, and without WAIT it does not.

The replica is frozen, so that what is written meanwhile lies on the primary alone. The order to lead is in the
replica's queue before it wakes: it takes over with what it has, as an operator or a Sentinel would have it do.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gallery_svc.store.durability import Durability
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.write_records import Enrollment
from tessera.domain.errors import OutcomeUnknownError
from tessera.domain.ids import SubjectId
from tests.congruence.redis_world import store_at
from tests.congruence.store_world import (
    STAFF,
    changes_so_far,
    collection,
    enrollment,
    present,
    request,
    rows_of,
    template,
)
from tests.servers import PrimaryAndReplica, PrivateServer, client_of, running_pair, until
from tests.told import tell

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

BEFORE, MEANWHILE = 20, 40
PICTURE = bytes(50_000)
"""So large that what is written meanwhile is more than the sockets between the servers hold."""


@pytest.fixture
def pair(tmp_path: Path, binary: Path) -> Iterator[PrimaryAndReplica]:
    """A primary and its replica, which force every write to the disk."""
    with running_pair(tmp_path, binary, "--appendfsync", "always") as running:
        yield running


@dataclass(slots=True)
class Told:
    """What a writer was told."""

    acknowledged: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def _enrollment(name: str) -> Enrollment:
    return enrollment(
        template(f"t-{name}", picture=PICTURE), subject_id=SubjectId(name), key=request(name, digest=name)
    )


async def _write(store: RedisStore, names: list[str], told: Told) -> None:
    for name in names:
        try:
            await store.enroll(_enrollment(name))
        except OutcomeUnknownError:
            told.unknown.append(name)
        else:
            told.acknowledged.append(name)


async def _failed_over(pair: PrimaryAndReplica, durability: Durability) -> Told:
    """Write with the replica and without it; then the primary dies, and the replica leads."""
    told = Told()
    async with _store(pair.primary, Durability("always")) as patient:
        await patient.create_collection(collection())
    async with _store(pair.primary, durability) as store:
        await _write(store, [f"before-{number}" for number in range(BEFORE)], told)
        until(lambda: _has_all(pair))  # also without WAIT: only what comes now is in danger
        with socket.create_connection(("127.0.0.1", pair.replica.port)) as order:
            _accepted(order)
            pair.replica.pause()
            await _write(store, [f"meanwhile-{number}" for number in range(MEANWHILE)], told)
            order.sendall(b"REPLICAOF NO ONE\r\n")
            pair.primary.kill()
            pair.replica.resume()
            until(lambda: _leads(pair.replica))
    return told


def _accepted(order: socket.socket) -> None:
    """Have the server know the connection: it would read what its primary sent before it took a new one."""
    order.sendall(b"PING\r\n")
    assert order.recv(64) == b"+PONG\r\n"


@asynccontextmanager
async def _store(server: PrivateServer, durability: Durability) -> AsyncIterator[RedisStore]:
    store = store_at(server.url, durability=durability)
    try:
        await store.prepare()
        yield store
    finally:
        await store.close()


def _has_all(pair: PrimaryAndReplica) -> bool:
    with client_of(pair.primary) as primary, client_of(pair.replica) as replica:
        offsets = (primary.info("replication")["master_repl_offset"], replica.info("replication")["slave_repl_offset"])
    return offsets[0] == offsets[1]


def _leads(server: PrivateServer) -> bool:
    with client_of(server) as client:
        role: str = client.info("replication")["role"]
    return role == "master"


async def test_what_wait_confirmed_survives_its_primary(pair: PrimaryAndReplica, kind: str) -> None:
    """Nothing acknowledged is lost; what is unknown is settled by its request id, once each; the store is whole."""
    told = await _failed_over(pair, Durability("always", replicas_to_wait=1, replica_timeout_s=0.05))
    assert told.acknowledged
    assert told.unknown, "every write was confirmed: the replica was not behind"
    async with _store(pair.replica, Durability("always")) as store:
        lost = set(told.acknowledged) - (await rows_of(store, 1)).keys()
        sure, open_ = len(told.acknowledged), len(told.unknown)
        tell(f"{kind}, with WAIT: acknowledged writes that are lost", len(lost), f"of {sure}", "0", holds=not lost)
        tell(f"{kind}, with WAIT: writes told as unknown, and settled by their request id", open_, "writes")
        assert not lost
        for name in told.unknown:
            await store.enroll(_enrollment(name))
        everybody = {*told.acknowledged, *told.unknown}
        assert (await rows_of(store, 1)).keys() == everybody
        assert await changes_so_far(store) == len(everybody)
        for name in everybody:
            assert (await present(store, SubjectId(name))).revision == 1
        assert await store.check(STAFF) == []


async def test_without_wait_acknowledged_writes_are_lost_with_their_primary(pair: PrimaryAndReplica, kind: str) -> None:
    """The control: all were acknowledged, some are gone; what is left is whole."""
    told = await _failed_over(pair, Durability("always"))
    assert told.unknown == []
    async with _store(pair.replica, Durability("always")) as store:
        lost = set(told.acknowledged) - (await rows_of(store, 1)).keys()
        share = f"of {len(told.acknowledged)}"
        tell(
            f"{kind}, control without WAIT: acknowledged writes that are lost",
            len(lost),
            share,
            "some",
            holds=bool(lost),
        )
        assert 0 < len(lost) <= MEANWHILE
        assert await store.check(STAFF) == []
