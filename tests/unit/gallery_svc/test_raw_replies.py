"""Replies that are handed on as the server wrote them: whole, whatever is in them, and nobody reads another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery_svc.rows import half
from gallery_svc.store import redis_following
from gallery_svc.store.door import Command, CommandRefusedError
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.line import _without
from gallery_svc.store.load_processes import LoadProcesses
from gallery_svc.store.loading import pairs_of
from gallery_svc.store.memory_side import Unstamped
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import RedisDoor, open_door
from gallery_svc.store.redis_following import cursor_of
from gallery_svc.store.sealing import Sealer
from tessera.domain.ids import SubjectId
from tests.congruence.store_world import STAFF, collection, enrollment, template
from tests.eventually import eventually
from tests.servers import PrivateServer, running_server

TAG = "{raw}"
KEY = "{raw}:hash"
SUBJECTS = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A Valkey of this module's own."""
    with running_server(tmp_path_factory.mktemp("raw"), None) as running:
        yield running


@pytest.fixture
async def door(server: PrivateServer) -> AsyncIterator[RedisDoor]:
    """A door to it, with nothing behind it."""
    door = open_door(server.url, Durability("everysec"))
    await door.read(TAG, [("FLUSHALL",)])
    yield door
    await door.close()


async def test_a_reply_comes_whole(door: RedisDoor) -> None:
    """Many pieces of it, with lines and whole replies inside of its values; and the line goes on with the next one."""
    values = {b"f%d" % n: b"\r\n$32\r\n" * n + bytes(n * 997) for n in range(60)}
    await door.read(TAG, [("HSET", KEY, *(part for pair in values.items() for part in pair))])
    page = await door.read_raw(TAG, ("HSCAN", KEY, 0, "COUNT", 1000))
    assert len(page) > 1
    assert dict(zip(*pairs_of(page), strict=True)) == values
    assert cursor_of(page) == (b"0", 2 * len(values))
    assert await door.read(TAG, [("HLEN", KEY)]) == [len(values)]


async def test_replies_of_several_do_not_mix(door: RedisDoor) -> None:
    """Each of those who ask at once has his own."""
    for n in range(8):
        await door.read(TAG, [("HSET", f"{KEY}{n}", "field", bytes([n]) * 300_000)])
    pages = await asyncio.gather(*(door.read_raw(TAG, ("HSCAN", f"{KEY}{n}", 0)) for n in range(8)))
    assert [pairs_of(page)[1] for page in pages] == [[bytes([n]) * 300_000] for n in range(8)]


async def test_a_refusal_is_told(door: RedisDoor) -> None:
    """Not handed on as if it were a page; and the line goes on."""
    await door.read(TAG, [("SET", KEY, "text")])
    with pytest.raises(CommandRefusedError, match="WRONGTYPE"):
        await door.read_raw(TAG, ("HSCAN", KEY, 0))
    assert await door.read(TAG, [("GET", KEY)]) == [b"text"]


@given(st.lists(st.binary(min_size=1, max_size=6), min_size=1), st.integers(1, 9))
def test_an_end_is_taken_off_wherever_pieces_end(pieces: list[bytes], length: int) -> None:
    """Byte by byte what was before it."""
    whole = b"".join(pieces)
    end = whole[-length:]
    assert b"".join(_without(end, list(pieces))) == whole[: len(whole) - len(end)]


# ---- a scan that shows subjects twice


@dataclass
class StammeringDoor:
    """A door at which a scan shows each page twice, as one of a hash that grows may."""

    door: Any
    again: dict[int, list[bytes]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the door's."""
        return getattr(self.door, name)

    async def read_raw(self, tag: str, command: Command) -> list[bytes]:
        """The page, with a cursor that leads to the same one once more."""
        asked = int(command[2])
        if asked in self.again:
            return self.again.pop(asked)
        page = b"".join(await self.door.read_raw(tag, command))
        assert page.startswith(b"*2\r\n$1\r\n0\r\n"), "the hash is small: one page has all"
        self.again[77] = [page]
        return [page.replace(b"$1\r\n0\r\n", b"$2\r\n77\r\n", 1)]


@pytest.mark.parametrize("at_once", [1, 1000])
@pytest.mark.parametrize("processes", [0, 1])
async def test_who_is_shown_twice_is_loaded_once(
    server: PrivateServer, door: RedisDoor, processes: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With processes that open and without, in one page and in two; and the tags fold to what the head says."""
    monkeypatch.setattr(redis_following, "SUBJECTS_A_PAGE", at_once)
    sealer = Sealer(Keyring.load("ephemeral"))
    store = RedisStore(door, sealer, Unstamped(), load_processes=processes)
    await store.prepare()
    await store.create_collection(collection())
    vectors = half(np.random.default_rng(1).normal(size=(SUBJECTS, 4)))
    for n in range(SUBJECTS):
        wanted = template(f"template-{n:024x}", vectors[n].tolist())
        await store.enroll(enrollment(wanted, subject_id=SubjectId(f"s{n}")))
    store._door = StammeringDoor(door)
    loading: LoadProcesses = store._load_processes
    async with loading.during(0, sealer.row_keys("g", 1)[0]):

        async def ready() -> bool:
            return len(loading.pids()) == processes

        await eventually(ready)
        found = [name async for batch in store.load_rows(STAFF, 0, 1) for name in batch.subject_ids]
    assert sorted(found) == sorted(f"s{n}" for n in range(SUBJECTS))
