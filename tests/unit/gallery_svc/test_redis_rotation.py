"""Keys that rotate under a store that works: every value comes under the new one, and nothing else changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from gallery_svc.store.keyring import Keyring
from gallery_svc.store.redis import RedisStore
from tessera.chassis.key_files import new_key
from tessera.domain.errors import KeyMissingError
from tessera.domain.ids import SubjectId, TemplateId
from tests.congruence.redis_world import store_at
from tests.congruence.store_world import (
    ADA,
    STAFF,
    collection,
    enrollment,
    look,
    names_in_shard,
    request,
    rows_of,
    template,
)
from tests.servers import PrivateServer, running_server

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OLD, NEW = new_key(NOW), new_key(NOW)
SHARDS = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
async def store(server: PrivateServer) -> AsyncIterator[RedisStore]:
    """A store with two subjects in each shard, one picture each, all under the old key."""
    async with Redis.from_url(server.url) as client:
        await client.flushall()
    opened = store_at(server.url, keyring=Keyring((OLD,)))
    await opened.prepare()
    await opened.create_collection(collection(shards=SHARDS))
    for name in [ADA, *(name for shard in range(SHARDS) for name in names_in_shard(shard, SHARDS, 2))]:
        wanted = enrollment(template("t1", picture=b"a picture"), subject_id=SubjectId(name), key=request(name))
        await opened.enroll(wanted)
    yield opened
    await opened.close()


async def test_every_value_comes_under_the_first_key(store: RedisStore, server: PrivateServer) -> None:
    """All are looked at; folds, histories and plain values stay; then the old key may go."""
    values = 3 * (1 + 2 * SHARDS)
    old, new = OLD.fingerprint.hex(), NEW.fingerprint.hex()
    assert await store.values_by_key(STAFF) == {old: values}
    before, rows = await store.heads([STAFF]), await rows_of(store, SHARDS)
    rotating = store_at(server.url, keyring=Keyring((NEW, OLD)))
    assert sum([looked_at async for looked_at in rotating.rewrap(STAFF)]) == values
    assert await rotating.values_by_key(STAFF) == {new: values}
    assert await rotating.heads([STAFF]) == before
    after = store_at(server.url, keyring=Keyring((NEW,)))
    await after.prepare()
    assert await after.check(STAFF) == []
    assert await rows_of(after, SHARDS) == rows
    assert await after.find_picture(STAFF, ADA, TemplateId("t1")) == b"a picture"
    again = await after.find_enrolled(STAFF, request(ADA))
    assert again is not None
    assert again.note == "the note"
    with pytest.raises(KeyMissingError):
        await store.find_subject(STAFF, ADA)
    for each in (rotating, after):
        await each.close()


async def test_looks_at_persons_come_under_the_first_key_too(store: RedisStore, server: PrivateServer) -> None:
    """They are counted, rotated and read like the rest, and a key that is gone makes one nobody is found by."""
    until = datetime.now(UTC) + timedelta(hours=1)
    await store.put_look(look("t1"), until)
    before = (await store.values_by_key(STAFF))[OLD.fingerprint.hex()]
    unreadable = store_at(server.url, keyring=Keyring((NEW,)))
    assert (await unreadable.looks_after(STAFF, 0, 10)).looks == (("t1", None),)
    rotating = store_at(server.url, keyring=Keyring((NEW, OLD)))
    _ = [looked_at async for looked_at in rotating.rewrap(STAFF)]
    assert await rotating.values_by_key(STAFF) == {NEW.fingerprint.hex(): before}
    ((_, found),) = (await unreadable.looks_after(STAFF, 0, 10)).looks
    assert found is not None
    assert found.vector.tobytes() == look("t1").vector.tobytes()
    assert await rotating.check(STAFF) == []
    for each in (unreadable, rotating):
        await each.close()


async def test_a_rotation_and_writers_do_not_lose_each_others_work(store: RedisStore, server: PrivateServer) -> None:
    """Those with the old key first and those with the new one: everything is there, and folds."""
    rotating = store_at(server.url, keyring=Keyring((NEW, OLD)))
    behind = store_at(server.url, keyring=Keyring((OLD, NEW)))

    async def rotate() -> None:
        for _ in range(5):
            _ = [looked_at async for looked_at in rotating.rewrap(STAFF)]

    async def write(writer: RedisStore, name: str) -> None:
        for number in range(20):
            await writer.enroll(enrollment(template(f"{name}-{number}", picture=b"x"), subject_id=SubjectId("n1")))

    await asyncio.gather(rotate(), write(rotating, "new"), write(behind, "old"))
    await rotate()
    assert set(await rotating.values_by_key(STAFF)) == {NEW.fingerprint.hex()}
    assert len((await rows_of(rotating, SHARDS))["n1"][0]) >= 40
    assert await rotating.check(STAFF) == []
    for each in (rotating, behind):
        await each.close()
