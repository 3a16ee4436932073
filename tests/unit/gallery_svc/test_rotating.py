"""Keys rotated on a real server: every value under the new key, everything still there, and the old line may go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from gallery_svc.rotating import RotationProgress, Rotator
from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.protocol import Store, audit_log
from tessera.chassis.clock import SystemClock
from tessera.domain.errors import KeyMissingError, NotFoundError
from tessera.domain.ids import CollectionId, SubjectId
from tests.upkeep_world import COPY, NEW_KEY, OLD_KEY, STAFF, Upkeep, redis_store, staff, template
from tests.valkey import PrivateServer, running_server

OLD, NEW = OLD_KEY.fingerprint.hex(), NEW_KEY.fingerprint.hex()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
def server(valkey: PrivateServer) -> PrivateServer:
    """It holds nothing."""
    with Redis(port=valkey.port, protocol=2) as client:
        client.flushall()
    return valkey


async def filled(store: Store, count: int = 5) -> Upkeep:
    """Two collections with people, under the key that wraps."""
    upkeep = Upkeep(store, Keyring((OLD_KEY,)))
    await store.prepare()
    await store.create_collection(staff())
    for number in range(count):
        await upkeep.enroll(f"p{number}", template(f"t{number}", number, b"picture"))
    await upkeep.imported(await upkeep.exported())
    return upkeep


async def rotated(store: Store, collection_id: CollectionId | None = None) -> list[RotationProgress]:
    """All that a rotation tells."""
    return [progress async for progress in Rotator(store, SystemClock()).rotate(collection_id, "ann")]


async def test_every_value_comes_under_the_new_key(server: PrivateServer) -> None:
    """Records, rows and pictures of all collections; then the old key opens nothing any more, and nobody misses it."""
    before = await filled(redis_store(server.url, OLD_KEY))
    people, vectors = await before.everybody(STAFF), await before.vectors(STAFF)
    await before.store.close()

    store = redis_store(server.url, NEW_KEY, OLD_KEY)
    first, *_, last = await rotated(store)
    assert first == RotationProgress(0, 25)
    assert last == RotationProgress(25, 25, {NEW: 25})
    await store.close()

    store = redis_store(server.url, NEW_KEY)
    after = Upkeep(store, Keyring((NEW_KEY,)))
    await store.prepare()
    assert await after.everybody(STAFF) == people
    assert await after.vectors(STAFF) == vectors
    assert await store.find_picture(STAFF, SubjectId("p3"), template("t3", 3).record.template_id) == b"picture"
    assert [await store.check(each) for each in (STAFF, COPY)] == [[], []]
    await store.close()


async def test_one_collection_alone(server: PrivateServer) -> None:
    """The other keeps its key; counting changes nothing."""
    await (await filled(redis_store(server.url, OLD_KEY))).store.close()
    store = redis_store(server.url, NEW_KEY, OLD_KEY)
    rotator = Rotator(store, SystemClock())
    assert await rotator.count(None) == RotationProgress(25, 25, {OLD: 25})
    progress = await rotated(store, COPY)
    assert progress[-1].by_key == {NEW: 10}
    assert await rotator.count(None) == RotationProgress(25, 25, dict(sorted({NEW: 10, OLD: 15}.items())))
    assert [one.done for one in progress] == sorted(one.done for one in progress)
    await store.close()


async def test_a_key_that_is_missing_is_named(server: PrivateServer) -> None:
    """Nothing is rotated that could not be opened, and nothing is lost."""
    await (await filled(redis_store(server.url, OLD_KEY))).store.close()
    store = redis_store(server.url, NEW_KEY)
    with pytest.raises(KeyMissingError, match=OLD):
        await rotated(store)
    assert (await Rotator(store, SystemClock()).count(None)).by_key == {OLD: 25}
    await store.close()


async def test_a_rotation_is_on_record(server: PrivateServer) -> None:
    """Once for each collection."""
    upkeep = await filled(redis_store(server.url, OLD_KEY))
    await rotated(upkeep.store)
    entries = await upkeep.store.audit_after(audit_log(COPY, 0), 0, 100)
    last = codec.load(AuditRecord, entries[-1].entry, "entry")
    assert (last.method, last.caller, last.collection_id) == ("RotateKeys", "ann", COPY)
    await upkeep.store.close()


async def test_a_collection_that_goes_meanwhile_stops_nothing(server: PrivateServer) -> None:
    """The others are rotated; one that was never there is told."""
    await (await filled(redis_store(server.url, OLD_KEY))).store.close()
    store = redis_store(server.url, NEW_KEY, OLD_KEY)
    rotation = Rotator(store, SystemClock()).rotate(None)
    await anext(rotation)
    await store.delete_collection(COPY, AuditRecord("DeleteCollection", staff().created_at, "ev-1"), force=True)
    last = [progress async for progress in rotation][-1]
    assert last.by_key == {NEW: 15}
    with pytest.raises(NotFoundError):
        await rotated(store, CollectionId("nobody"))
    await store.close()


async def test_a_store_that_seals_nothing_has_nothing_to_rotate() -> None:
    """It tells so, and ends."""
    upkeep = await filled(MemoryStore())
    assert await rotated(upkeep.store) == [RotationProgress(0, 0), RotationProgress(0, 0, {})]
