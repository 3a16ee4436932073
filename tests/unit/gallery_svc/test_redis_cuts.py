"""Each beginning of a write, as a file that was cut could hold it: the start is refused, and repair keeps the rest.

The control is the same look without the marks: it must not see all of them, or it proves nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import hiredis
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from gallery_svc.store.redis import RedisStore
from gallery_svc.store.subject_records import SubjectProfile
from tessera.domain.errors import StoreCorruptError
from tests.congruence.redis_world import store_at
from tests.congruence.store_world import (
    ADA,
    BOB,
    BOTH_EPOCHS,
    STAFF,
    collection,
    deletion,
    enrollment,
    erasure,
    next_row,
    request,
    rows_of,
    template,
    update,
)
from tests.servers import PrivateServer, running_server

Commands = list[list[bytes]]
Operation = Callable[[RedisStore], Awaitable[object]]

OPERATIONS: dict[str, Operation] = {
    "enroll": lambda store: store.enroll(enrollment(template("c1", picture=b"x"), subject_id=ADA, key=request("r2"))),
    "update": lambda store: store.update_profile(update(SubjectProfile(display_name="A"), "display_name")),
    "template": lambda store: store.delete_template(deletion("a1", request("r2"))),
    "erase": lambda store: store.erase(erasure(request("r2"))),
    "put_row": lambda store: store.put_row(STAFF, 2, next_row("a1", "a2"), 1),
    "drop_epoch": lambda store: store.drop_epoch(STAFF, 2),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A server whose file tells what each script did."""
    with running_server(tmp_path_factory.mktemp("valkey"), None, "--appendfsync", "always") as running:
        yield running


@pytest.fixture
async def client(server: PrivateServer) -> AsyncIterator[Redis]:
    """A client of the empty server."""
    async with Redis.from_url(server.url) as redis:
        await redis.flushall()
        yield redis


def _file(server: PrivateServer) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(Path(server.folder).rglob("*.incr.aof")))


def _commands(raw: bytes) -> Commands:
    """What a file has, without the brackets of transactions and the choice of a database."""
    reader = hiredis.Reader()
    reader.feed(raw)
    found: Commands = []
    while (command := reader.gets()) is not False:
        if command[0].upper() not in (b"MULTI", b"EXEC", b"SELECT"):
            found.append(command)
    return found


async def _replay(client: Redis, *parts: Commands) -> None:
    await client.flushall()
    for command in (command for part in parts for command in part):
        with contextlib.suppress(ResponseError):  # a second entry of one number: a start goes on past it
            await client.execute_command(*command)


async def _filled(store: RedisStore) -> None:
    await store.prepare()
    await store.create_collection(collection())
    await store.enroll(enrollment(template("b1"), subject_id=BOB))
    await store.enroll(enrollment(template("a1", picture=b"p"), template("a2"), key=request("r1")))
    found = await store.find_collection(STAFF)
    assert found is not None
    await store.update_collection(replace(found, epochs=BOTH_EPOCHS), 1)
    assert await store.put_row(STAFF, 2, next_row("a1"), 1)


@pytest.mark.parametrize("name", OPERATIONS)
async def test_no_beginning_of_a_write_passes(server: PrivateServer, client: Redis, name: str) -> None:
    """All of it or nothing passes the start; each part between is refused, mended, and Bob is as he was."""
    store = store_at(server.url)
    begin = len(_file(server))
    await _filled(store)
    before = _commands(_file(server)[begin:])
    begin = len(_file(server))
    await OPERATIONS[name](store)
    effects = _commands(_file(server)[begin:])
    assert len(effects) > 3
    for kept in (0, len(effects)):
        await _replay(client, before, effects[:kept])
        await store.prepare()
        assert await store.check(STAFF) == []
    for kept in range(1, len(effects)):
        await _replay(client, before, effects[:kept])
        with pytest.raises(StoreCorruptError, match="store repair"):
            await store.prepare()
        assert await store.repair(STAFF) != []
        await store.prepare()
        assert await store.check(STAFF) == []
        assert (await rows_of(store, 1))[BOB] == (["b1"], [[1.0, 0.0, 0.0, 0.0]], "Ada")
    await store.close()


@pytest.mark.parametrize("name", ["enroll", "erase", "put_row"])
async def test_no_beginning_of_a_write_passes_with_a_whole_one_behind_it(
    server: PrivateServer, client: Redis, name: str
) -> None:
    """Redis carries out both at the second start after a cut: the whole one takes away a mark that is only a name."""
    store = store_at(server.url)
    begin = len(_file(server))
    await _filled(store)
    before = _commands(_file(server)[begin:])
    begin = len(_file(server))
    await OPERATIONS[name](store)
    effects = _commands(_file(server)[begin:])
    await _replay(client, before)
    begin = len(_file(server))
    await store.enroll(enrollment(template("b2"), subject_id=BOB))
    behind = _commands(_file(server)[begin:])
    for kept in range(2, len(effects)):
        await _replay(client, before, effects[:kept], behind)
        with pytest.raises(StoreCorruptError, match="store repair"):
            await store.prepare()
        await store.repair(STAFF)
        assert await store.check(STAFF) == []
        assert (await rows_of(store, 1))[BOB][0] == ["b1", "b2"]
    await store.close()


async def test_without_the_mark_some_beginnings_would_pass_unseen(server: PrivateServer, client: Redis) -> None:
    """The control: the same cuts of an enrolment, with both marks taken away, and a start that looks no further.

    The head tells the end of the log before the log has it: up to there a start sees it all the same. What follows, the
    audit entry and the answer to the request, is seen by nothing but the marks.
    """
    store = store_at(server.url)
    begin = len(_file(server))
    await _filled(store)
    before = _commands(_file(server)[begin:])
    begin = len(_file(server))
    await OPERATIONS["enroll"](store)
    effects = _commands(_file(server)[begin:])
    unseen = refused = 0
    for kept in range(1, len(effects)):
        await _replay(client, before, effects[:kept])
        await client.hdel("tessera:{staff/00}:head", "pending", "begun")
        try:
            await store.prepare()
        except StoreCorruptError:
            refused += 1
            continue
        unseen += 1
        assert await store.check(STAFF) == []
    assert unseen > 0
    assert refused > 0
    await store.close()
