"""What only a server can get wrong: eviction, another schema, a broken log, being away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from redis.asyncio import Redis

from gallery_svc.store.records import (
    AuditRecord,
    CollectionRecord,
    Enrollment,
    Erasure,
    NewTemplate,
    RequestKey,
    SubjectProfile,
    TemplateRecord,
)
from gallery_svc.store.redis import RedisStore
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError, StoreCorruptError, UnavailableError
from tessera.domain.ids import CollectionId, ModelId, RequestId, SubjectId, TemplateId
from tests.valkey import PrivateServer, forcing_server, free_port, running_server

AT = datetime(2026, 11, 22, tzinfo=UTC)
STAFF, MODEL = CollectionId("staff"), ModelId("m@1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
async def client(server: PrivateServer) -> AsyncIterator[Redis]:
    """A client of the empty server, with its settings put back afterwards."""
    async with Redis.from_url(server.url) as redis:
        await redis.flushall()
        yield redis
        await redis.config_set("maxmemory-policy", "noeviction")
        await redis.config_set("maxmemory", "0")


@pytest.fixture
async def store(server: PrivateServer, client: Redis) -> AsyncIterator[RedisStore]:
    """The store over the empty server."""
    opened = RedisStore(server.url)
    yield opened
    await opened.close()


def _enrollment(name: str) -> Enrollment:
    template = NewTemplate(TemplateRecord(TemplateId(name), MODEL, AT, None, ""), np.ones(4, dtype=np.float32))
    audit = AuditRecord("EnrollSubject", AT, "ev-1", collection_id=STAFF)
    return Enrollment(STAFF, SubjectId(name), SubjectProfile(), (template,), AT, audit)


async def test_a_server_that_evicts_is_refused(store: RedisStore, client: Redis) -> None:
    """It would lose enrolments without saying so; the error names the policy that is needed."""
    await client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(InvalidInputError, match="noeviction"):
        await store.prepare()


async def test_another_schema_is_refused(store: RedisStore, client: Redis) -> None:
    """What a later version wrote is not touched."""
    await client.set("tessera:{_}:schema", "2")
    with pytest.raises(InvalidInputError, match="schema"):
        await store.prepare()


async def test_a_collections_keys_share_a_slot(store: RedisStore, client: Redis) -> None:
    """A cluster keeps them together: each key carries its collection's hash tag, or that of no collection."""
    await store.prepare()
    await store.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, AT))
    await store.enroll(_enrollment("ada"))
    keys = {key.decode() for key in await client.keys("*")}
    assert {key.split(":")[1] for key in keys} == {"{staff}", "{_}"}
    assert await client.object("encoding", "tessera:{staff}:log") == b"stream"


async def test_a_collection_made_while_its_namesake_goes_is_listed(
    server: PrivateServer, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id stays in the directory, whichever of the two calls writes there last."""
    store, record = RedisStore(server.url), CollectionRecord(STAFF, Modality.FACE, MODEL, AT)
    await store.prepare()
    await store.create_collection(record)
    run = store._server.run

    async def raced(name: str, *arguments: Any) -> Any:
        reply = await run(name, *arguments)
        if name == "delete_collection":
            await store.create_collection(record)
        return reply

    monkeypatch.setattr(store._server, "run", raced)
    await store.delete_collection(STAFF, AuditRecord("DeleteCollection", AT, "ev-1"), force=False)
    assert await store.list_collections() == (record,)
    await store.close()


async def test_a_full_server_refuses_the_whole_write(store: RedisStore, client: Redis) -> None:
    """Out of memory is an unavailable store, and nothing of the enrolment is there."""
    await store.prepare()
    await store.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, AT))
    await client.config_set("maxmemory", "1")
    with pytest.raises(UnavailableError, match="OutOfMemoryError"):
        await store.enroll(_enrollment("ada"))
    await client.config_set("maxmemory", "0")
    assert await store.find_subject(STAFF, SubjectId("ada")) is None
    assert (await store.heads([STAFF]))[STAFF].position.sequence == 0


async def test_a_full_server_still_erases(store: RedisStore, client: Redis) -> None:
    """All of it: erasing frees memory, and is owed to the person whatever the memory says."""
    await store.prepare()
    await store.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, AT))
    await store.enroll(_enrollment("ada"))
    await client.config_set("maxmemory", "1")
    audit = AuditRecord("DeleteSubject", AT, "ev-2", collection_id=STAFF)
    erased = await store.erase(Erasure(STAFF, SubjectId("ada"), "receipt-1", 0, AT, audit))
    assert (erased.templates_erased, erased.position) == (1, 2)
    assert await client.hlen("tessera:{staff}:vectors") == 0


async def test_a_log_ahead_of_its_count_is_not_written_to(store: RedisStore, client: Redis) -> None:
    """Before anything is written: an enrolment that failed half-way would be worse than one that is refused."""
    await store.prepare()
    await store.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, AT))
    await client.xadd("tessera:{staff}:log", {"kind": "ENROLLED"}, id="7-0")
    with pytest.raises(StoreCorruptError):
        await store.enroll(_enrollment("ada"))
    assert await store.find_subject(STAFF, SubjectId("ada")) is None


async def test_a_record_that_nobody_wrote_is_named(store: RedisStore, client: Redis) -> None:
    """The error says which key holds it."""
    await client.set("tessera:{staff}:record", "{}")
    with pytest.raises(StoreCorruptError, match=r"tessera:\{staff\}:record"):
        await store.find_collection(STAFF)


async def test_a_trimmed_log_cannot_be_followed(server: PrivateServer, client: Redis) -> None:
    """A follower behind the oldest change that is kept must load again."""
    store = RedisStore(server.url, log_kept=1)
    await store.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, AT))
    start = (await store.heads([STAFF]))[STAFF].position
    for number in range(5):
        await store.enroll(_enrollment(f"s{number}"))
    await client.xtrim("tessera:{staff}:log", maxlen=1, approximate=False)
    assert await store.changes_after(STAFF, start, 10) is None
    await store.close()


async def test_nobody_at_the_address_is_an_unavailable_store() -> None:
    """One error for every way of being away."""
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0", timeout_s=0.5)
    with pytest.raises(UnavailableError, match="store"):
        await store.prepare()
    await store.close()


async def test_the_store_answers_again_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Connections of before are replaced, and what was acknowledged is there after a kill -9."""
    with forcing_server(tmp_path_factory.mktemp("restarted")) as server:
        store = RedisStore(server.url)
        await store.prepare()
        await store.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, AT))
        await store.enroll(_enrollment("ada"))
        server.kill()
        with pytest.raises(UnavailableError):
            await store.find_subject(STAFF, SubjectId("ada"))
        server.start()
        assert await store.find_subject(STAFF, SubjectId("ada")) is not None
        await store.close()


async def test_an_erasure_leaves_no_name_in_any_key(store: RedisStore, client: Redis) -> None:
    """Every key of the server, dumped: the name is there before the erasure, and nowhere after it."""
    await store.prepare()
    await store.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, AT))
    profile = SubjectProfile(display_name="Canary Byrd", metadata={"badge": "4711-canary"})
    request = RequestKey(RequestId("r1"), "digest")
    await store.enroll(replace(_enrollment("s1"), profile=profile, request=request))
    assert await _keys_that_hold(client, b"anary") != []
    audit = AuditRecord("DeleteSubject", AT, "ev-2", collection_id=STAFF)
    await store.erase(Erasure(STAFF, SubjectId("s1"), "receipt-1", 0, AT, audit, None))
    assert await _keys_that_hold(client, b"anary") == []


async def _keys_that_hold(client: Redis, text: bytes) -> list[bytes]:
    # DUMP may compress what it gives, so each kind is read as what it is.
    readers = {b"string": client.get, b"hash": client.hgetall, b"stream": client.xrange, b"set": client.smembers}
    found = []
    async for key in client.scan_iter():
        kind = await client.type(key)
        content = await (client.zrange(key, 0, -1) if kind == b"zset" else readers[kind](key))
        if text in repr(content).encode():
            found.append(key)
    return found
