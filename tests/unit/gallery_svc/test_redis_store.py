"""What only a server can get wrong: eviction, another schema, a broken log, crashes in between, being away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import numpy as np
import pytest
from redis.asyncio import Redis

from gallery_svc.rows import half
from gallery_svc.store.change_records import Member
from gallery_svc.store.collection_records import EpochRecord, EpochState, Position
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.subject_records import SubjectProfile
from gallery_svc.store.write_records import ErasureEnd
from tessera.chassis.ports import free_port
from tessera.domain.errors import (
    InvalidInputError,
    KeyMissingError,
    ModelMismatchError,
    NotFoundError,
    OutcomeUnknownError,
    StoreCorruptError,
    UnavailableError,
)
from tessera.domain.ids import CollectionId, SubjectId, TemplateId
from tests.congruence.redis_world import BreakingDoor, NotedStamps, everything_in, store_at
from tests.congruence.store_world import (
    ADA,
    AT,
    BOB,
    BOTH_EPOCHS,
    MODEL,
    NEXT_MODEL,
    STAFF,
    audit,
    changes_so_far,
    collection,
    counts,
    deletion,
    enrollment,
    erasure,
    names_in_shard,
    next_row,
    present,
    request,
    rows_of,
    template,
    update,
)
from tests.cutting_proxy import cutting_proxy
from tests.eventually import eventually
from tests.servers import PrivateServer, running_server

HEAD = "tessera:{staff/00}:head"


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
    """The store over the empty server, with one empty collection."""
    opened = store_at(server.url)
    await opened.prepare()
    await opened.create_collection(collection())
    yield opened
    await opened.close()


# ---- what a server must be


async def test_a_server_that_evicts_is_refused(store: RedisStore, client: Redis) -> None:
    """It would lose enrolments without saying so; the error names the policy that is needed."""
    await client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(InvalidInputError, match="noeviction"):
        await store.prepare()


async def test_another_schema_is_refused(store: RedisStore, client: Redis) -> None:
    """What a later version wrote is not touched."""
    await client.set("tessera:{_}:schema", "3")
    with pytest.raises(InvalidInputError, match="schema"):
        await store.prepare()


async def test_values_under_a_key_that_is_not_there_are_refused_at_the_start(
    store: RedisStore, server: PrivateServer
) -> None:
    """Before anybody is told that the gallery is ready; and the key that is missing is named."""
    await store.enroll(enrollment(template("t1")))
    stranger = store_at(server.url, keyring=Keyring.load("ephemeral"))
    with pytest.raises(KeyMissingError):
        await stranger.prepare()
    await stranger.close()


async def test_nobody_at_the_address_is_an_unavailable_store() -> None:
    """One error for every way of being away."""
    store = store_at(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(UnavailableError, match="store"):
        await store.prepare()
    await store.close()


async def test_the_store_answers_again_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Connections of before are replaced, and what was acknowledged is there after a kill -9."""
    with running_server(tmp_path_factory.mktemp("restarted"), None, "--appendfsync", "always") as server:
        store = store_at(server.url, durability=Durability("always"))
        await store.prepare()
        await store.create_collection(collection())
        await store.enroll(enrollment(template("t1")))
        server.kill()
        with pytest.raises(UnavailableError):
            await store.find_subject(STAFF, ADA)
        server.start()
        assert await store.find_subject(STAFF, ADA) is not None
        assert await store.check(STAFF) == []
        await store.close()


# ---- where things lie


async def test_every_key_carries_the_tag_of_its_shard(store: RedisStore, client: Redis) -> None:
    """A cluster keeps those of a script together, whatever is written: each script touches one tag."""
    await store.create_collection(collection(CollectionId("many"), 3))
    await store.enroll(enrollment(template("t1", picture=b"picture"), key=request()))
    await store.erase(erasure(request("r2")))
    await store.heartbeat(Member("g1", AT, {}))
    tags = {key.decode().split(":")[1] for key in await client.keys("*")}
    assert tags == {"{_}", "{staff/_}", "{staff/00}", "{many/_}", "{many/00}", "{many/01}", "{many/02}"}


async def test_nothing_of_a_person_lies_in_clear(store: RedisStore, client: Redis) -> None:
    """No name, label, number, note, vector or picture in any key; the subject's id alone, which the control finds."""
    vector = half(np.linspace(0.1, 0.9, 32) / np.linalg.norm(np.linspace(0.1, 0.9, 32)))
    profile = SubjectProfile("Canary Byrd", "ext-4711", ("label-canary",), {"badge": "badge-4711"}, "consent-9")
    wanted = replace(
        enrollment(replace(template("t1"), vector=vector, picture=b"picture of a canary"), key=request()),
        profile=profile,
        note="a note about the canary",
    )
    await store.enroll(wanted)
    kept = await everything_in(client)
    assert any(b"ada" in content for content in kept.values())
    secrets = [b"anary", b"4711", b"consent-9", vector.tobytes(), vector.astype(np.float32).tobytes()]
    assert [key for key, content in kept.items() for secret in secrets if secret in content] == []
    assert (await present(store)).profile == profile


async def test_an_erasure_leaves_the_id_alone(store: RedisStore, client: Redis) -> None:
    """In logs and receipts; whatever was sealed of the subject is gone, and an answer that is left opens no more."""
    await store.enroll(enrollment(template("t1", picture=b"picture"), key=request()))
    answer = await client.hget("tessera:{staff/00}:request:r1", "answer")
    assert answer
    await store.erase(erasure())
    left = {key for key, content in (await everything_in(client)).items() if b"ada" in content}
    shard = "tessera:{staff/00}:"
    assert left == {shard + name for name in ("log", "audit", "erasing", "request:r1")}
    await store.enroll(enrollment(template("t2")))  # at the same moment, under a new data key
    with pytest.raises(NotFoundError, match="erased"):
        await store.find_enrolled(STAFF, request())


async def test_values_that_changed_places_do_not_open(store: RedisStore, client: Redis) -> None:
    """Whoever swaps two people in Redis is found out, in the record and in the row."""
    await store.enroll(enrollment(template("t1")))
    await store.enroll(enrollment(template("t2"), subject_id=BOB))
    for name in ("subjects", "rows:1"):
        key = f"tessera:{{staff/00}}:{name}"
        ada, bob = await client.hmget(key, [ADA, BOB])
        await client.hset(key, mapping={ADA: bob, BOB: ada})
    with pytest.raises(StoreCorruptError, match="ada"):
        await store.find_subject(STAFF, ADA)
    with pytest.raises(StoreCorruptError):
        await rows_of(store, 1)
    assert {finding.what for finding in await store.check(STAFF)} == {"SEALED"}


async def test_a_record_that_nobody_wrote_is_named(store: RedisStore, client: Redis) -> None:
    """The error says which key holds it."""
    await client.set("tessera:{staff/_}:record", "{}")
    with pytest.raises(StoreCorruptError, match=r"tessera:\{staff/_\}:record"):
        await store.find_collection(STAFF)


# ---- memory that is full


async def test_a_full_server_refuses_the_whole_write(store: RedisStore, client: Redis) -> None:
    """Out of memory is an unavailable store, and nothing of the enrolment is there."""
    await client.config_set("maxmemory", "1")
    with pytest.raises(UnavailableError, match="OOM"):
        await store.enroll(enrollment(template("t1")))
    await client.config_set("maxmemory", "0")
    assert await store.find_subject(STAFF, ADA) is None
    assert await changes_so_far(store) == 0


async def test_a_full_server_still_erases(store: RedisStore, client: Redis) -> None:
    """All of it: erasing frees memory, and is owed to the person whatever the memory says."""
    await store.enroll(enrollment(template("t1")))
    await client.config_set("maxmemory", "1")
    erased = await store.erase(erasure())
    assert (erased.templates_erased, erased.position.sequence) == (1, 2)
    assert await client.hlen("tessera:{staff/00}:rows:1") == 0


# ---- half of a write


async def test_half_of_a_write_is_refused_by_everything(store: RedisStore, client: Redis) -> None:
    """Reads of the log, writes, heads and the start: each names collection, shard, subject and what mends it."""
    await store.enroll(enrollment(template("t1"), template("t2"), key=request()))
    found = await store.find_collection(STAFF)
    assert found is not None
    await store.update_collection(replace(found, epochs=BOTH_EPOCHS), 1)
    position = (await store.heads([STAFF]))[STAFF].positions[0]
    await client.hset(HEAD, "pending", "2 ada")
    calls = [
        store.enroll(enrollment(template("t3"))),
        store.enroll(enrollment(template("t3"), subject_id=BOB, key=request("r2"))),
        store.update_profile(update(SubjectProfile(), "labels")),
        store.delete_template(deletion("t1")),
        store.erase(erasure()),
        store.find_enrolled(STAFF, request()),
        store.put_row(STAFF, 2, next_row("t1"), 1),
        store.drop_epoch(STAFF, 2),
        store.changes_after(STAFF, 0, Position(0, found.generation), 10),
        store.heads([STAFF]),
        store.delete_collection(STAFF, audit("DeleteCollection"), force=False),
        store.prepare(),
    ]
    for call in calls:
        with pytest.raises(StoreCorruptError, match=r"staff.*shard 0.*ada.*store check.*store repair"):
            await call
    with pytest.raises(StoreCorruptError):
        _ = [batch async for batch in store.load_rows(STAFF, 0, 1)]
    await client.hdel(HEAD, "pending")
    assert (await store.heads([STAFF]))[STAFF].positions[0] == position
    assert await store.check(STAFF) == []


async def test_a_log_ahead_of_its_head_is_not_written_to(store: RedisStore, client: Redis) -> None:
    """Before anything is written: an enrolment that failed half-way would be worse than one that is refused."""
    await client.xadd("tessera:{staff/00}:log", {"kind": "ENROLLED"}, id="7-0")
    with pytest.raises(StoreCorruptError, match="log"):
        await store.enroll(enrollment(template("t1")))
    with pytest.raises(StoreCorruptError, match="log"):
        await store.prepare()
    assert await store.find_subject(STAFF, ADA) is None


async def test_a_log_that_was_edited_is_not_followed(store: RedisStore, client: Redis) -> None:
    """A change that says something else than when it was written has another digest."""
    start = (await store.heads([STAFF]))[STAFF].positions[0]
    for number in range(3):
        await store.enroll(enrollment(template(f"t{number}")))
    log = "tessera:{staff/00}:log"
    entries = await client.xrange(log)
    await client.delete(log)
    for entry_id, fields in entries:
        edited = fields | {b"subject": b"bob"} if entry_id == b"2-0" else fields
        await client.xadd(log, edited, id=entry_id)
    assert await store.changes_after(STAFF, 0, start, 10) is None
    assert [finding.what for finding in await store.check(STAFF)] == ["CHAIN"]


async def test_a_load_that_does_not_fold_is_refused(store: RedisStore, client: Redis) -> None:
    """A row that went without a change, and a shard that nobody writes to: what was read is not what was written."""
    await store.enroll(enrollment(template("t1")))
    await store.enroll(enrollment(template("t2"), subject_id=BOB))
    assert set(await rows_of(store, 1)) == {ADA, BOB}
    await client.hdel("tessera:{staff/00}:rows:1", BOB)
    with pytest.raises(StoreCorruptError, match="fold"):
        await rows_of(store, 1)


# ---- requests


async def test_a_retry_is_a_write(store: RedisStore, client: Redis) -> None:
    """What it waits for then covers the first write: the server's own offset moves with each of its kinds."""
    await store.enroll(enrollment(template("t1"), template("t2"), key=request("r1")))
    await store.delete_template(deletion("t1", request("r2")))
    await store.erase(erasure(request("r3")))
    await store.enroll(enrollment(template("t4"), subject_id=BOB, key=request("r4")))
    again = [
        lambda: store.enroll(enrollment(template("t4"), subject_id=BOB, key=request("r4"))),
        lambda: store.find_enrolled(STAFF, request("r4")),
        lambda: store.erase(erasure(request("r3"))),
        lambda: store.find_erased(STAFF, request("r3")),
    ]
    for number, retry in enumerate(again):
        key = f"tessera:{{staff/00}}:request:r{4 if number < 2 else 3}"
        before = int(await client.hget(key, "settled") or 0)
        await retry()
        assert int(await client.hget(key, "settled") or 0) == before + 1
    with pytest.raises(NotFoundError):
        await store.delete_template(deletion("t1", request("r2")))
    assert int(await client.hget("tessera:{staff/00}:request:r2", "settled") or 0) == 1


async def test_requests_and_receipts_are_kept_for_a_day(store: RedisStore, client: Redis) -> None:
    """A receipt from the end of its erasure on; and leave by themselves."""
    await store.enroll(enrollment(template("t1"), key=request()))
    await store.erase(erasure(request("r2")))
    (still_open,) = await store.open_erasures()
    await store.close_erasure(still_open, ErasureEnd(AT, 1))
    for name in ("request:r1", "request:r2", "receipt:receipt-1"):
        assert 86_390_000 < await client.pttl(f"tessera:{{staff/00}}:{name}") <= 86_400_000


async def test_an_enrolment_whose_answer_was_lost_is_settled_by_its_request(
    server: PrivateServer, client: Redis
) -> None:
    """The outcome is unknown, with the id that settles it; sent again it is told, and nothing is written twice."""
    async with cutting_proxy(server.port) as proxy:
        store = store_at(proxy.url)
        await store.prepare()
        await store.create_collection(collection())
        await store.enroll(enrollment(template("t0"), subject_id=BOB))  # the script is known
        proxy.lose_answer_to(b"t1")
        with pytest.raises(OutcomeUnknownError) as unknown:
            await store.enroll(enrollment(template("t1"), key=request()))
        assert unknown.value.request_id == "r1"
        settled = await store.enroll(enrollment(template("t1"), key=request()))
        assert (settled.replayed, settled.note) == (True, "the note")
        assert await counts(store) == (2, 2)
        await store.close()


async def test_a_claim_without_its_enrolment_leads_to_the_same_subject(server: PrivateServer, client: Redis) -> None:
    """A crash between the two is harmless: the retry enrols whom the first call would have, and once."""
    store = store_at(server.url)
    await store.prepare()
    await store.create_collection(collection(shards=8))
    first, second = (SubjectId(names_in_shard(shard, 8, 1)[0]) for shard in (1, 2))
    key = request(names_in_shard(3, 8, 1)[0])
    broken = store_at(server.url, through=lambda door: BreakingDoor(door, "change"))
    with pytest.raises(UnavailableError):
        await broken.enroll(enrollment(template("t1"), subject_id=first, key=key))
    assert await store.find_enrolled(STAFF, key) is None
    enrolled = await store.enroll(enrollment(template("t2"), subject_id=second, key=key))
    assert (enrolled.subject.subject_id, enrolled.replayed) == (first, False)
    again = await store.enroll(enrollment(template("t3"), subject_id=second, key=key))
    assert (again.subject.subject_id, again.replayed) == (first, True)
    assert await counts(store) == (1, 1)
    for each in (store, broken):
        await each.close()


# ---- several galleries


async def test_another_gallery_may_make_the_collection_anew(store: RedisStore, server: PrivateServer) -> None:
    """With more shards, while this one still thinks of the old one: it looks again and writes to the new one."""
    await store.enroll(enrollment(template("t1"), key=request()))
    other = store_at(server.url)
    await other.delete_collection(STAFF, audit("DeleteCollection"), force=True)
    assert await store.find_subject(STAFF, ADA) is None
    with pytest.raises(NotFoundError):
        await store.enroll(enrollment(template("t1")))
    await other.create_collection(collection(shards=8))
    assert not (await store.enroll(enrollment(template("t2"), key=request()))).replayed
    assert await store.find_subject(STAFF, ADA) == await other.find_subject(STAFF, ADA)
    assert await counts(store) == (1, 1)
    await other.close()


async def test_another_gallery_may_change_the_model(store: RedisStore, server: PrivateServer) -> None:
    """What this one remembers of the collection is old: it is told so by the shard and does not write beside."""
    await store.enroll(enrollment(template("t1")))
    other = store_at(server.url)
    found = await other.find_collection(STAFF)
    assert found is not None
    epochs = (EpochRecord(1, MODEL, EpochState.RETIRED), EpochRecord(2, NEXT_MODEL, EpochState.ACTIVE))
    await other.update_collection(replace(found, epochs=epochs, active_epoch=2, model_id=NEXT_MODEL), 1)
    with pytest.raises(ModelMismatchError):
        await store.enroll(enrollment(template("t2")))
    await store.enroll(enrollment(template("t3", model_id=NEXT_MODEL)))
    assert (await rows_of(other, 1, 2))[ADA][0] == ["t3"]
    assert await other.check(STAFF) == []
    await other.close()


async def test_a_shard_that_has_not_heard_of_the_change_follows_the_record(
    store: RedisStore, server: PrivateServer
) -> None:
    """A gallery died between the record and its shards: the next writer brings them along."""
    found = await store.find_collection(STAFF)
    assert found is not None
    epochs = (EpochRecord(1, MODEL, EpochState.RETIRED), EpochRecord(2, NEXT_MODEL, EpochState.ACTIVE))
    broken = store_at(server.url, through=lambda door: BreakingDoor(door, "layout"))
    with pytest.raises(UnavailableError):
        await broken.update_collection(replace(found, epochs=epochs, active_epoch=2, model_id=NEXT_MODEL), 1)
    fresh = store_at(server.url)
    await fresh.enroll(enrollment(template("t1", model_id=NEXT_MODEL)))
    assert set(await rows_of(fresh, 1, 2)) == {ADA}
    assert await fresh.changes_after(STAFF, 0, Position(0, found.generation), 10) is not None
    for each in (broken, fresh):
        await each.close()


async def test_a_writer_waits_while_a_collection_is_about_to_go(store: RedisStore, client: Redis) -> None:
    """Until it is gone, or stays after all."""
    await store._existing(STAFF)
    seconds, microseconds = await client.time()
    await client.hset(HEAD, "closed", seconds * 1000 + microseconds // 1000 + 60_000)
    waiting = asyncio.create_task(store.enroll(enrollment(template("t1"))))

    async def refused_once() -> bool:
        return bool((await client.info("commandstats")).get("cmdstat_time", {}).get("calls"))

    await eventually(refused_once)
    assert not waiting.done()
    await client.hdel(HEAD, "closed")
    assert not (await waiting).replayed


@pytest.mark.parametrize("at", [1, 2, 8])
@pytest.mark.parametrize("script", ["create_shard", "write_record"])
async def test_a_collection_that_was_half_made_can_be_made(
    server: PrivateServer, client: Redis, script: str, at: int
) -> None:
    """Nobody sees it before, it is made whole by the next call, and a start clears it away."""
    broken = store_at(
        server.url, through=lambda door: BreakingDoor(door, script, at if script == "create_shard" else 1)
    )
    await broken.prepare()
    with pytest.raises(UnavailableError):
        await broken.create_collection(collection(shards=8))
    fresh = store_at(server.url)
    assert (await fresh.list_collections(), await fresh.heads([STAFF])) == ((), {})
    await fresh.prepare()
    assert await client.keys("tessera:{staff/*") == []
    await fresh.create_collection(collection(shards=2))
    await fresh.enroll(enrollment(template("t1")))
    assert await fresh.check(STAFF) == []
    for each in (broken, fresh):
        await each.close()


@pytest.mark.parametrize("at", [1, 5])
async def test_a_deletion_that_was_broken_off_is_finished(server: PrivateServer, client: Redis, at: int) -> None:
    """Once the record is gone the collection is; what is left of its shards goes with the next start."""
    store = store_at(server.url, through=lambda door: BreakingDoor(door, "delete_shard", at))
    await store.prepare()
    await store.create_collection(collection(shards=8))
    await store.enroll(enrollment(template("t1")))
    with pytest.raises(UnavailableError):
        await store.delete_collection(STAFF, audit("DeleteCollection"), force=True)
    fresh = store_at(server.url)
    assert await fresh.find_collection(STAFF) is None
    with pytest.raises(NotFoundError):
        await fresh.enroll(enrollment(template("t2")))
    await fresh.prepare()
    assert {key.decode().rpartition(":")[2] for key in await client.keys("tessera:{staff/*")} == {"audit"}
    await fresh.create_collection(collection(shards=2))
    assert await counts(fresh) == (0, 0)
    for each in (store, fresh):
        await each.close()


async def test_a_deletion_that_finds_somebody_lets_the_others_in_again(
    store: RedisStore, server: PrivateServer
) -> None:
    """Refused without force, it leaves no shard closed."""
    await store.enroll(enrollment(template("t1")))
    for _ in range(2):
        with pytest.raises(Exception, match="1 subjects"):
            await store.delete_collection(STAFF, audit("DeleteCollection"), force=False)
    async with asyncio.timeout(1):
        await store.enroll(enrollment(template("t2"), subject_id=BOB))


# ---- what is trimmed, and what is told


async def test_only_upkeep_trims_a_log(server: PrivateServer, client: Redis) -> None:
    """After every thousandth change it goes down to what is kept, and not below where a live gallery reads."""
    store = store_at(server.url, log_kept=100)
    await store.prepare()
    await store.create_collection(collection())
    found = await store.find_collection(STAFF)
    assert found is not None
    log = "tessera:{staff/00}:log"
    await client.hset(HEAD, "position", 1022)
    for sequence in range(800, 1023):
        await client.xadd(log, {"kind": "ENROLLED"}, id=f"{sequence}-0")
    await store.heartbeat(Member("g1", AT, {"staff": (870,)}, {"staff": found.generation}))
    await store.enroll(enrollment(template("t1")))
    assert (await client.xrange(log, count=1))[0][0] == b"800-0"
    await store.enroll(enrollment(template("t2")))
    assert (await client.xrange(log, count=1))[0][0] == b"871-0"
    await store.close()


async def test_a_member_that_is_silent_is_left_out(store: RedisStore, client: Redis) -> None:
    """Half a minute by the server's clock, whatever the members' own clocks say."""
    await store.heartbeat(Member("g1", AT, {}))
    raw = await client.hget("tessera:{_}:members", "g1")
    heard_ms, _, told = raw.partition(b" ")
    await client.hset("tessera:{_}:members", "g1", b"%d %s" % (int(heard_ms) - 29_000, told))
    assert [member.member_id for member in await store.members()] == ["g1"]
    await client.hset("tessera:{_}:members", "g1", b"%d %s" % (int(heard_ms) - 31_000, told))
    assert await store.members() == []


async def test_each_stamp_is_told_what_became_of_it(server: PrivateServer, client: Redis) -> None:
    """Written once, or given up: after a retry, a refusal, and an answer that was lost."""
    stamps = NotedStamps()
    async with cutting_proxy(server.port) as proxy:
        store = store_at(proxy.url, stamps=stamps)
        await store.prepare()
        await store.create_collection(collection())
        await store.enroll(enrollment(template("t1"), key=request()))
        await store.enroll(enrollment(template("t2")))
        assert stamps.written == [("staff/00", 1), ("staff/00", 2)]
        await store.enroll(enrollment(template("t1"), key=request()))
        proxy.lose_answer_to(b"t3")
        with pytest.raises(OutcomeUnknownError):
            await store.enroll(enrollment(template("t3")))
        assert stamps.lost == [("staff/00", 3), ("staff/00", 4)]
        await store.close()
    assert sorted(stamps.written + stamps.lost) == stamps.given


async def test_a_template_that_is_enrolled_again_takes_the_place_of_the_first(store: RedisStore, client: Redis) -> None:
    """Its vector and its picture, once; counts and folds follow."""
    await store.enroll(enrollment(template("t1", picture=b"one")))
    await store.enroll(enrollment(template("t1", picture=b"two")))
    assert await store.find_picture(STAFF, ADA, TemplateId("t1")) == b"two"
    assert ((await rows_of(store, 1))[ADA][0], await counts(store)) == (["t1"], (1, 1))
    assert await store.check(STAFF) == []
