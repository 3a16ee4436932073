"""A store of schema 1 comes to this schema: everybody in it, sealed, wherever the migration was broken off."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from redis.asyncio import Redis

from gallery_svc.rows import half
from gallery_svc.store import codec
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.event_records import EventHead, NewEvent
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.subject_records import SubjectRecord, TemplateRecord
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError, UnavailableError
from tessera.domain.ids import CameraId, CollectionId, EventId, SubjectId, TemplateId
from tests.congruence.redis_world import BreakingDoor, everything_in, store_at
from tests.congruence.store_world import (
    ADA,
    AT,
    MODEL,
    PROFILE,
    QUALITY,
    STAFF,
    audit,
    audited,
    counts,
    enrollment,
    template,
)
from tests.servers import PrivateServer, running_server

PEOPLE = 250
VECTORS = np.random.default_rng(1).normal(size=(PEOPLE, 8)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
OTHER = CollectionId("visitors")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
async def client(server: PrivateServer) -> AsyncIterator[Redis]:
    """A client of a server that holds what version 1 wrote: two collections, one of them empty, and an event."""
    async with Redis.from_url(server.url) as redis:
        await redis.flushall()
        await redis.set("tessera:{_}:schema", 1)
        await redis.sadd("tessera:{_}:collections", STAFF, OTHER)
        await _write_collection(redis, STAFF, [f"s{n}" for n in range(PEOPLE - 1)] + [ADA])
        await _write_collection(redis, OTHER, [])
        await redis.xadd("tessera:{_}:audit", {"entry": codec.dump(audit("Compare", None))}, id="1-0")
        await _write_event(redis)
        yield redis


async def _write_collection(redis: Redis, collection_id: CollectionId, names: list[str]) -> None:
    """As version 1 wrote it."""
    key = f"tessera:{{{collection_id}}}:"
    record = json.loads(codec.dump(CollectionRecord(collection_id, Modality.FACE, MODEL, AT, "Staff")))
    kept = ("~", "collection_id", "modality", "model_id", "created_at", "display_name", "policy", "gate", "labels")
    await redis.set(key + "record", json.dumps({name: record[name] for name in kept}))
    head = {"generation": f"generation-{collection_id}", "model_id": MODEL, "chain": "c", "position": len(names)}
    await redis.hset(key + "head", mapping=head | {"subjects": len(names), "templates": len(names)})
    pipe = redis.pipeline(transaction=False)
    for number, name in enumerate(names):
        templates = (TemplateRecord(TemplateId(f"t{number}"), MODEL, AT, QUALITY, "0" * 64),)
        subject = SubjectRecord(SubjectId(name), collection_id, PROFILE, templates, AT, AT, 1)
        pipe.hset(key + "subjects", name, codec.dump(subject))
        pipe.hset(key + "vectors", f"t{number}", VECTORS[number].astype("<f4").tobytes())
        pipe.zadd(key + "order", {name: 0})
        pipe.xadd(key + "audit", {"entry": codec.dump(audit(f"Enroll{number}", collection_id))})
    await pipe.execute()
    if names:
        await redis.xadd(key + "log", {"kind": "ENROLLED"}, id=f"{len(names)}-0")


async def _write_event(redis: Redis) -> None:
    from tests.congruence.test_store_events import _camera_event

    event: NewEvent = _camera_event("e1")
    fields = {"id": event.event_id, "revision": 1, "event": codec.dump(event), "seen": ""}
    await redis.xadd("tessera:{_}:events", fields, id="1-0")
    await redis.hset("tessera:{_}:events:head", mapping={"newest": 1, "oldest": 1})
    await redis.hset("tessera:{_}:events:latest", event.event_id, f"1 1 {event.content_key}")


async def test_an_older_store_is_refused_with_the_command_that_mends_it(server: PrivateServer, client: Redis) -> None:
    """And nothing of it is touched."""
    before = await everything_in(client)
    store = store_at(server.url)
    with pytest.raises(InvalidInputError, match="tessera store migrate"):
        await store.prepare()
    assert await everything_in(client) == before
    await store.close()


async def _require_migrated(server: PrivateServer, client: Redis) -> None:
    store = store_at(server.url)
    await store.prepare()
    assert await client.get("tessera:{_}:schema") == b"2"
    tags = {key.decode().split(":")[1] for key in await client.keys("*")}
    assert tags == {"{_}", "{staff/_}", "{staff/00}", "{visitors/_}", "{visitors/00}"}
    ada = await store.find_subject(STAFF, ADA)
    assert ada is not None
    assert (ada.profile, ada.revision, ada.templates[0].template_id) == (PROFILE, 1, f"t{PEOPLE - 1}")
    assert await counts(store) == (PEOPLE, PEOPLE)
    await _require_vectors(store)
    methods = [record.method for record in await audited(store, "staff/00")]
    assert [name for name in methods if name != "MigrateStore"] == [f"Enroll{number}" for number in range(PEOPLE)]
    assert "MigrateStore" in methods
    assert [record.method for record in await audited(store, "_")] == ["Compare"]
    assert await store.event_head() == EventHead(1, 1)
    assert (await store.find_event(EventId("e1"))) is not None
    assert (await store.events_after(0, 10))[0].event.camera_id == CameraId("door")
    for collection_id in (STAFF, OTHER):
        assert await store.check(collection_id) == []
    await store.enroll(enrollment(template("new", [1.0] + [0.0] * 7)))
    assert not [content for content in (await everything_in(client)).values() if b'"4711"' in content]
    await store.close()


async def _require_vectors(store: RedisStore) -> None:
    loaded = 0
    async for batch in store.load_rows(STAFF, 0, 1):
        for template_id, vector in zip(batch.template_ids, batch.vectors, strict=True):
            np.testing.assert_array_equal(vector, half(VECTORS[int(template_id[1:])]))
            loaded += 1
    assert loaded == PEOPLE


async def test_everything_of_an_older_store_is_there(server: PrivateServer, client: Redis) -> None:
    """Subjects, vectors, audit entries with stamps, events; the old keys are gone, and nothing lies in clear."""
    store = store_at(server.url)
    await store.prepare(migrate=True)
    await store.prepare(migrate=True)
    await store.close()
    await _require_migrated(server, client)


@pytest.mark.parametrize(
    ("script", "at"),
    [
        ("begin_repair", 1),
        ("mend", 1),
        ("mend", 2),
        ("audit_many", 1),
        ("end_repair", 1),
        ("write_record", 1),
        ("end_repair", 2),
    ],
)
async def test_a_migration_that_was_broken_off_goes_on(
    server: PrivateServer, client: Redis, script: str, at: int
) -> None:
    """Wherever it was: the next one ends with the same store."""
    broken = store_at(server.url, through=lambda door: BreakingDoor(door, script, at))
    with pytest.raises(UnavailableError):
        await broken.prepare(migrate=True)
    await client.delete("tessera:{_}:lease:migrate")  # it would end by itself
    store = store_at(server.url)
    await store.prepare(migrate=True)
    for each in (broken, store):
        await each.close()
    await _require_migrated(server, client)


async def test_two_galleries_do_not_migrate_at_once(server: PrivateServer, client: Redis) -> None:
    """The second one is told that it has to wait."""
    await client.set("tessera:{_}:lease:migrate", "somebody", px=60_000)
    store = store_at(server.url)
    with pytest.raises(UnavailableError, match="migrates"):
        await store.prepare(migrate=True)
    await store.close()
