"""What a cut file could leave in a shard: it is found, and mended without the loss of what was acknowledged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from gallery_svc.store.redis import RedisStore
from gallery_svc.store.subject_records import SubjectProfile
from tessera.domain.errors import StoreCorruptError, UnavailableError
from tessera.domain.ids import TemplateId
from tests.congruence.redis_world import BreakingDoor, store_at
from tests.congruence.store_world import (
    ADA,
    BOB,
    STAFF,
    audited,
    collection,
    counts,
    enrollment,
    erasure,
    present,
    rows_of,
    template,
    update,
)
from tests.servers import PrivateServer, running_server

SHARD = "tessera:{staff/00}:"
HEAD = SHARD + "head"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
async def client(server: PrivateServer) -> AsyncIterator[Redis]:
    """A client of the empty server."""
    async with Redis.from_url(server.url) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture
async def store(server: PrivateServer, client: Redis) -> AsyncIterator[RedisStore]:
    """A store with Ada, who has two templates and a picture, and Bob, who has one."""
    opened = store_at(server.url)
    await opened.prepare()
    await opened.create_collection(collection())
    await opened.enroll(enrollment(template("a1", picture=b"a picture"), template("a2")))
    await opened.enroll(enrollment(template("b1"), subject_id=BOB))
    yield opened
    await opened.close()


Damage = Callable[[Redis], Awaitable[object]]


async def _half_of_an_erasure(client: Redis) -> None:
    await client.hset(HEAD, "pending", "3 ada")
    await client.hdel(SHARD + "subjects", ADA)
    await client.zrem(SHARD + "order", ADA)


async def _a_row_went(client: Redis) -> None:
    await client.hdel(SHARD + "rows:1", ADA)


async def _a_bit_turned(client: Redis) -> None:
    sealed = bytearray(await client.hget(SHARD + "subjects", ADA))
    sealed[100] ^= 1
    await client.hset(SHARD + "subjects", ADA, bytes(sealed))


async def _a_name_was_lost(client: Redis) -> None:
    await client.zrem(SHARD + "order", ADA)


async def _the_counts_are_wrong(client: Redis) -> None:
    await client.hincrby(HEAD, "templates", 1)


async def _the_log_is_behind(client: Redis) -> None:
    await client.xdel(SHARD + "log", "2-0")


async def _a_picture_turned(client: Redis) -> None:
    sealed = bytearray(await client.hget(SHARD + "pictures", "ada/a1"))
    sealed[-1] ^= 1
    await client.hset(SHARD + "pictures", "ada/a1", bytes(sealed))


@pytest.mark.parametrize(
    ("damage", "found", "left"),
    [
        (_half_of_an_erasure, {"PENDING", "COUNTS", "STATE"}, {BOB: 1}),
        (_a_row_went, {"STATE"}, {BOB: 1}),
        (_a_bit_turned, {"SEALED", "STATE"}, {BOB: 1}),
        (_a_name_was_lost, {"COUNTS"}, {ADA: 2, BOB: 1}),
        (_the_counts_are_wrong, {"COUNTS"}, {ADA: 2, BOB: 1}),
        (_the_log_is_behind, {"LOG"}, {ADA: 2, BOB: 1}),
        (_a_picture_turned, {"SEALED", "STATE"}, {ADA: 2, BOB: 1}),
    ],
)
async def test_what_is_broken_is_found_and_mended(
    store: RedisStore, client: Redis, damage: Damage, found: set[str], left: dict[str, int]
) -> None:
    """Whoever is whole stays, whoever is not goes; it is written down, everybody loads again, and all is well then."""
    start = (await store.heads([STAFF]))[STAFF].positions[0]
    assert await store.check(STAFF) == []
    await damage(client)
    findings = await store.check(STAFF)
    assert found <= {finding.what for finding in findings} <= found | {"STATE"}
    assert await store.repair(STAFF) == findings
    assert await store.check(STAFF) == []
    await store.prepare()
    assert {name: len(row[0]) for name, row in (await rows_of(store, 1)).items()} == left
    assert await counts(store) == (len(left), sum(left.values()))
    assert [each.subject_id for each in (await store.list_subjects(STAFF, "", 9)).subjects] == sorted(left)
    assert await store.changes_after(STAFF, 0, start, 10) is None
    told = [(entry.method, entry.subject_id) for entry in await audited(store, "staff/00")][2:]
    assert told == [("RepairStore", None)] + [("RepairStore", name) for name in (ADA, BOB) if name not in left]
    assert not (await store.enroll(enrollment(template("n1")))).replayed


async def test_an_enrolment_of_which_half_is_there_leaves_what_was_acknowledged(
    store: RedisStore, client: Redis
) -> None:
    """The record has a template that no row has: nobody was told of it, and the two of before stay."""
    before = await present(store)
    row, fold = await client.hget(SHARD + "rows:1", ADA), await client.hget(HEAD, "state:rows:1")
    log = await client.xrange(SHARD + "log")
    await store.enroll(enrollment(template("a3")))
    await client.hset(SHARD + "rows:1", ADA, row)
    await client.hset(HEAD, mapping={"state:rows:1": fold, "pending": "3 ada"})
    await client.xtrim(SHARD + "log", maxlen=0)
    await client.delete(SHARD + "log")
    for entry_id, fields in log:
        await client.xadd(SHARD + "log", fields, id=entry_id)
    with pytest.raises(StoreCorruptError, match="ada"):
        await store.enroll(enrollment(template("a4")))
    assert "PENDING" in {finding.what for finding in await store.repair(STAFF)}
    assert (await present(store)).templates == before.templates
    assert (await rows_of(store, 1))[ADA][0] == ["a1", "a2"]
    assert await store.find_picture(STAFF, ADA, TemplateId("a1")) == b"a picture"
    assert await store.check(STAFF) == []


async def test_nothing_is_repaired_where_nothing_is_broken(store: RedisStore) -> None:
    """The history goes on as it was."""
    before = await store.heads([STAFF])
    assert await store.repair(STAFF) == []
    assert await store.heads([STAFF]) == before


async def test_a_repair_that_was_broken_off_is_begun_again(
    store: RedisStore, server: PrivateServer, client: Redis
) -> None:
    """Until then nobody writes to the shard."""
    await client.hdel(SHARD + "rows:1", ADA)
    broken = store_at(server.url, through=lambda door: BreakingDoor(door, "end_repair"))
    with pytest.raises(UnavailableError):
        await broken.repair(STAFF)
    with pytest.raises(StoreCorruptError):
        await store.enroll(enrollment(template("x"), subject_id=BOB))
    await store.repair(STAFF)
    assert await store.check(STAFF) == []
    assert await counts(store) == (1, 1)
    await broken.close()


async def test_a_repaired_shard_takes_every_kind_of_change(store: RedisStore, client: Redis) -> None:
    """Its folds and counts go on from what was found."""
    await client.hset(HEAD, mapping={"state": b"0" * 16, "state:rows:1": b"1" * 16})
    await store.repair(STAFF)
    await store.update_profile(update(SubjectProfile(display_name="A"), "display_name"))
    await store.enroll(replace(enrollment(template("a3", picture=b"another"))))
    await store.erase(erasure(subject_id=BOB))
    assert await store.check(STAFF) == []
    assert await counts(store) == (1, 3)
