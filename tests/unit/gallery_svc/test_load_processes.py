"""Processes that open rows beside the gallery: the same rows, whatever becomes of them; nobody else has the keys."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from gallery_svc.rows import SearchProfile, SearchRow, TemplateRow, half
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.load_processes import FEWEST_ROWS, LoadProcesses, OpenedPage, processes_here
from gallery_svc.store.memory_side import Unstamped
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.redis_following import lengths_of
from gallery_svc.store.row_codec import pack_row, unpack_rows
from gallery_svc.store.row_cutting import pieces
from gallery_svc.store.sealing import Place, Sealer
from gallery_svc.store.subject_records import SubjectProfile
from tessera.domain.errors import StoreCorruptError
from tessera.domain.ids import SubjectId, TemplateId
from tests.congruence.store_world import collection, enrollment, rows_of, template
from tests.eventually import eventually
from tests.servers import PrivateServer, running_server

KEYRING = Keyring.load("ephemeral")
SEALER = Sealer(KEYRING)
ROWS = "tessera:{staff/00}:rows:1"
SUBJECTS = 40


@asynccontextmanager
async def running(count: int = 1) -> AsyncIterator[LoadProcesses]:
    """Processes that are ready."""
    processes = LoadProcesses(count)
    keys, _ = SEALER.row_keys("g", 1)
    async with processes.during(0, keys):
        await all_ready(processes, count)
        yield processes


async def all_ready(processes: LoadProcesses, count: int) -> None:
    """Wait until all of them have said so."""

    async def ready() -> bool:
        return len(processes.pids()) == count

    await eventually(ready)


def runs(pid: int) -> bool:
    """Whether a process has not ended."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def all_gone(pids: Iterable[int]) -> None:
    """Wait until none of them runs."""
    left = list(pids)

    async def gone() -> bool:
        return not any(map(runs, left))

    await eventually(gone)


def shown_of(pid: int) -> bytes:
    """What every process of the same user sees of one."""
    return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()


def row_of(name: str, display_name: str = "Ada") -> SearchRow:
    """A subject of one template."""
    templates = (TemplateRow(TemplateId("template-" + "0" * 24), half(np.eye(4)[0])),)
    return SearchRow(SubjectId(name), SearchProfile(display_name), templates)


def sealed(*rows: SearchRow) -> tuple[list[bytes], list[bytes]]:
    """Ids and sealed rows."""
    values = [SEALER.seal(Place("g", row.subject_id, "row", 1), pack_row(row)) for row in rows]
    return [row.subject_id.encode() for row in rows], values


def page_of(ids: list[bytes], values: list[bytes]) -> list[bytes]:
    """Ids and sealed rows as a server tells them, in pieces that end anywhere."""
    parts = [part for pair in zip(ids, values, strict=True) for part in pair]
    told = b"*2\r\n$1\r\n0\r\n*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return [told[at : at + 100] for at in range(0, len(told), 100)]


def row_in(page: OpenedPage | None, at: int = 0) -> SearchRow:
    """One of the rows that came back."""
    assert page is not None
    name = pieces(page.ids, lengths_of(page.id_lengths))[at]
    batch = unpack_rows([name.decode()], [pieces(page.rows, lengths_of(page.row_lengths))[at]])
    template = TemplateRow(TemplateId(batch.template_ids[0]), batch.vectors[0])
    return SearchRow(SubjectId(name.decode()), SearchProfile(batch.display_names[0]), (template,))


# ---- what they answer


async def test_rows_come_back_one_behind_the_other() -> None:
    """Every process opens what is sealed for its place, several pages at once, each answered for itself."""
    _, authenticated = SEALER.row_keys("g", 1)
    pages = [sealed(row_of("x"), row_of(f"s{n}" * n, display_name=f"Name {n} ä")) for n in range(1, 9)]
    async with running(2) as processes:
        assert processes.room > 0
        answers = await asyncio.gather(*(processes.opened(authenticated, page_of(*page)) for page in pages))
    for n, page in enumerate(answers, 1):
        row = row_in(page, 1)
        assert (row.subject_id, row.profile.display_name) == (f"s{n}" * n, f"Name {n} ä")
        assert row.templates[0].vector.tolist() == [1, 0, 0, 0]
        assert page is not None
        assert bytes(page.tags) == b"".join(Sealer.tag(value) for value in pages[n - 1][1])


@pytest.mark.parametrize("fault", ["moved", "short", "empty", "strange key"])
async def test_what_they_cannot_read_is_given_back(fault: str) -> None:
    """All of the request, and the process goes on with the next one."""
    _, authenticated = SEALER.row_keys("g", 1)
    (good,), (value,) = sealed(row_of("ada"))
    ids, values = {
        "moved": ([b"bob"], [value]),
        "short": ([good], [value[:70]]),
        "empty": ([good], [b""]),
        "strange key": ([good], [value[:4] + bytes(4) + value[8:]]),
    }[fault]
    async with running() as processes:
        assert await processes.opened(authenticated, page_of([good, *ids], [value, *values])) is None
        assert row_in(await processes.opened(authenticated, page_of([good], [value]))).subject_id == "ada"


async def test_one_that_was_killed_gives_everything_back() -> None:
    """What it was at and what comes later: neither waits."""
    _, authenticated = SEALER.row_keys("g", 1)
    page = page_of(*sealed(row_of("ada")))
    async with running() as processes:
        (pid,) = processes.pids()
        os.kill(pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(processes.opened(authenticated, page)) for _ in range(3)]
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        assert await asyncio.gather(*waiting) == [None] * 3
        assert processes.room == 0
        assert await processes.opened(authenticated, page) is None


def test_a_small_collection_needs_none() -> None:
    """And a setting counts for every collection."""
    assert LoadProcesses().wanted(FEWEST_ROWS - 1) == 0
    assert LoadProcesses().wanted(FEWEST_ROWS) == processes_here()
    assert LoadProcesses(3).wanted(1) == 3
    assert LoadProcesses(0).wanted(10**9) == 0


# ---- how long they live, and what of theirs can be seen


async def test_they_end_with_the_last_load() -> None:
    """Loads share them."""
    keys, _ = SEALER.row_keys("g", 1)
    async with running(2) as processes:
        pids = processes.pids()
        async with processes.during(0, keys):
            assert processes.pids() == pids
        assert processes.pids() == pids
    assert not any(map(runs, pids))


async def test_a_load_that_ends_before_they_begin_leaves_none() -> None:
    """As when a load is given up at once."""
    keys, _ = SEALER.row_keys("g", 1)
    before = set(children())
    for steps in range(4):
        async with LoadProcesses(1).during(0, keys):
            for _ in range(steps):
                await asyncio.sleep(0)
    await all_gone(set(children()) - before)


def children() -> list[int]:
    """Processes that this one started."""
    return [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


async def test_no_key_is_in_a_command_line_or_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the gallery has its keys from its own environment."""
    key = KEYRING.wrapping_key.key
    spellings = [key, base64.b64encode(key), key.hex().encode()]
    monkeypatch.setenv("TESSERA_KEYS_OF_THIS_TEST", f"one {base64.b64encode(key).decode()}")
    async with running() as processes:
        (pid,) = processes.pids()
        shown = shown_of(pid)
    assert b"gallery_svc.store.loading" in shown
    assert [spelt for spelt in spellings if spelt in shown] == []
    assert b"TESSERA" not in shown


_GALLERY = """
import asyncio
from gallery_svc.store.load_processes import LoadProcesses
async def main():
    processes = LoadProcesses(2)
    async with processes.during(0, {bytes(8): bytes(32)}):
        while len(processes.pids()) < 2:
            await asyncio.sleep(0.01)
        print(*processes.pids(), flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_they_end_with_a_gallery_that_is_killed() -> None:
    """kill -9 leaves nothing behind."""
    gallery = await asyncio.create_subprocess_exec(sys.executable, "-c", _GALLERY, stdout=asyncio.subprocess.PIPE)
    assert gallery.stdout is not None
    pids = [int(pid) for pid in (await gallery.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(map(runs, pids))
    gallery.kill()
    await gallery.wait()
    await all_gone(pids)


# ---- a load with them


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A Valkey of this module's own."""
    with running_server(tmp_path_factory.mktemp("loads"), None) as running:
        yield running


@pytest.fixture
async def store(server: PrivateServer) -> AsyncIterator[RedisStore]:
    """A store with some subjects, that loads with two processes."""
    async with Redis.from_url(server.url) as client:
        await client.flushall()
    store = RedisStore(open_door(server.url, Durability("everysec")), SEALER, Unstamped(), load_processes=2)
    await store.prepare()
    await store.create_collection(collection())
    vectors = half(np.random.default_rng(1).normal(size=(SUBJECTS, 4)))
    for n in range(SUBJECTS):
        wanted = enrollment(template(f"template-{n:024x}", vectors[n].tolist()), subject_id=SubjectId(f"s{n}"))
        labels = ("odd",) if n % 2 else ()
        await store.enroll(replace(wanted, profile=SubjectProfile(f"Name {n}", labels=labels)))
    yield store
    await store.close()


@asynccontextmanager
async def with_its_processes(store: RedisStore) -> AsyncIterator[LoadProcesses]:
    """A store whose processes are ready before a load begins."""
    processes = store._load_processes
    async with processes.during(0, SEALER.row_keys("g", 1)[0]):
        await all_ready(processes, 2)
        yield processes


async def test_a_load_with_processes_is_one_without(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name by name and number by number; and nothing of it is opened here."""
    store._load_processes, two = LoadProcesses(0), store._load_processes
    alone = await rows_of(store, 1)
    store._load_processes = two
    async with with_its_processes(store):
        monkeypatch.delattr(Sealer, "open_rows")
        assert await rows_of(store, 1) == alone
    assert alone["s7"][2] == "Name 7"
    assert len(alone) == SUBJECTS


async def test_a_load_goes_on_without_those_that_end(store: RedisStore) -> None:
    """Both are killed between its beginning and its first row."""
    async with with_its_processes(store) as processes:
        for pid in processes.pids():
            os.kill(pid, signal.SIGSTOP)
        loading = asyncio.create_task(rows_of(store, 1))

        async def asked() -> bool:
            return any(process.due for process in processes._processes)

        await eventually(asked)
        for pid in processes.pids():
            os.kill(pid, signal.SIGKILL)
        assert len(await loading) == SUBJECTS


async def test_a_row_that_does_not_open_is_named(store: RedisStore, server: PrivateServer) -> None:
    """By the gallery, as without processes."""
    async with Redis.from_url(server.url) as client:
        await client.hset(ROWS, "s3", await client.hget(ROWS, "s4"))
    async with with_its_processes(store):
        with pytest.raises(StoreCorruptError, match="row of s3"):
            await rows_of(store, 1)


async def test_a_row_of_other_making_is_read_here(store: RedisStore) -> None:
    """Ids that are spelt out, and a subject's own beyond ASCII: both come as they are."""
    vector = [1.0, 0.0, 0.0, 0.0]
    await store.enroll(enrollment(template("mine", vector), subject_id=SubjectId("é")))
    async with with_its_processes(store):
        rows = await rows_of(store, 1)
    assert rows["é"][:2] == (["mine"], [vector])
    assert len(rows) == SUBJECTS + 1


async def test_a_row_that_is_gone_is_missed(store: RedisStore, server: PrivateServer) -> None:
    """The tags of what was opened elsewhere are folded like the rest."""
    async with Redis.from_url(server.url) as client:
        await client.hdel(ROWS, "s3")
    async with with_its_processes(store):
        with pytest.raises(StoreCorruptError, match="do not fold"):
            await rows_of(store, 1)
