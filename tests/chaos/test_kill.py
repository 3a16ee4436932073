"""A server that is killed under four writers, again and again: nothing that was acknowledged is lost, and whoever was
told nothing learns it by asking again with the same request id.

The server forces each write to the disk, but what a kill alone takes from a file is nothing: the system still has its
pages. What a disk may lose stands in `test_aof_cut`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gallery_svc.store.durability import Durability
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.write_records import Enrolled
from tessera.domain.errors import OutcomeUnknownError, UnavailableError
from tessera.domain.ids import SubjectId
from tests.congruence.redis_world import store_at
from tests.congruence.store_world import (
    STAFF,
    audited_everywhere,
    changes_so_far,
    collection,
    enrollment,
    request,
    rows_of,
    template,
)
from tests.measure import Measure
from tests.told import tell
from tests.valkey import PrivateServer, forcing_server

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

WRITERS = 4
PEOPLE = 3
"""Of each writer: it enrols each of them many times, so that a write that is done twice shows in the count."""
SEED = 4


@dataclass(slots=True)
class Writers:
    """Four who write, and what they were told.

    Args:
        store: where they write.
    """

    store: RedisStore
    acknowledged: dict[str, tuple[SubjectId, Enrolled]] = field(default_factory=dict)
    """By request id, which is the id of its template as well."""
    unknown: int = 0
    refused: int = 0
    may_end: bool = False
    may_ask: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared while somebody looks at the store: nobody begins anything then."""
    told: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self) -> None:
        """Write until it is enough; nobody leaves before his last request is settled."""
        await asyncio.gather(*(self._write(writer) for writer in range(WRITERS)))

    async def acknowledge(self, more: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acknowledged) + more
        async with self.told:
            await self.told.wait_for(lambda: len(self.acknowledged) >= wanted)

    async def _write(self, writer: int) -> None:
        number = 0
        while not self.may_end:
            name, subject_id = f"w{writer}-{number}", SubjectId(f"p{writer}-{number % PEOPLE}")
            answer = await self._settled(name, subject_id)
            number += 1
            async with self.told:
                self.acknowledged[name] = (subject_id, answer)
                self.told.notify_all()

    async def _settled(self, name: str, subject_id: SubjectId) -> Enrolled:
        """Ask until there is an answer, always with the same request id."""
        while True:
            await self.may_ask.wait()
            try:
                wanted = enrollment(template(name), subject_id=subject_id, key=request(name, name))
                return await self.store.enroll(wanted)
            except OutcomeUnknownError:
                self.unknown += 1
            except UnavailableError:
                self.refused += 1


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateServer]:
    """A server that answers only what is on the disk."""
    with forcing_server(tmp_path) as running:
        yield running


@pytest.fixture
async def store(server: PrivateServer) -> AsyncIterator[RedisStore]:
    """A store over it, with an empty collection."""
    opened = store_at(server.url, durability=Durability("always"))
    await opened.prepare()
    await opened.create_collection(collection())
    yield opened
    await opened.close()


async def test_a_server_that_is_killed_keeps_its_word(
    server: PrivateServer, store: RedisStore, measure: Measure
) -> None:
    """All that was acknowledged is there, all that was unknown is there once, and every look finds the store whole."""
    chance = random.Random(SEED)
    writers = Writers(store)
    writing = asyncio.create_task(writers.run())
    for _ in range(measure.kills):
        writers.may_ask.set()
        await writers.acknowledge(chance.randrange(1, 30))
        writers.may_ask.clear()
        server.kill()
        await asyncio.to_thread(server.start)
        await store.prepare()
        assert await store.check(STAFF) == []
    writers.may_end = True
    writers.may_ask.set()
    await writing
    await _tell(store, writers, measure.kills)
    assert writers.unknown > 0, "no write was under way at any kill: nothing was tried"
    await _holds_each_once(store, writers)


async def _tell(store: RedisStore, writers: Writers, kills: int) -> None:
    held = {template_id for template_ids, _, _ in (await rows_of(store, 1)).values() for template_id in template_ids}
    lost = len(writers.acknowledged.keys() - held)
    tell("kill -9 under four writers", kills, "kills", "50", holds=kills >= 50 or None)
    tell("writes that were acknowledged", len(writers.acknowledged), "writes")
    tell(
        "writes that were unknown, and settled by their request id",
        writers.unknown,
        "writes",
        "some",
        holds=writers.unknown > 0,
    )
    tell("acknowledged writes that are lost", lost, "writes", "0", holds=lost == 0)


async def _holds_each_once(store: RedisStore, writers: Writers) -> None:
    """One change, one audit entry, one revision and one template for each request, and nothing beside them."""
    told = writers.acknowledged
    assert await store.check(STAFF) == []
    found = {name: set(template_ids) for name, (template_ids, _, _) in (await rows_of(store, 1)).items()}
    wanted: dict[str, set[str]] = {}
    for name, (subject_id, _) in told.items():
        wanted.setdefault(subject_id, set()).add(name)
    assert found == wanted
    for name, template_ids in wanted.items():
        subject = await store.find_subject(STAFF, SubjectId(name))
        assert subject is not None
        assert subject.revision == len(template_ids) == len(subject.templates)
    assert await changes_so_far(store) == len(told)
    assert len({answer.position for _, answer in told.values()}) == len(told)
    assert (await audited_everywhere(store, 1)).count("EnrollSubject") == len(told)
