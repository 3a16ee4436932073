"""Who is suspected, who is proved, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from camera_ingest import quarantine as module
from camera_ingest.metrics import IngestMetrics
from camera_ingest.quarantine import MemoryShelf, Quarantine, QuarantineShelf, RedisShelf, digest_of
from camera_ingest.store import StoreConnection
from tessera.domain.ids import CameraId
from tests.servers import client_of
from tests.valkey import running_server

DOOR, HALL = CameraId("door"), CameraId("hall")
FIRST, SECOND, THIRD = (digest_of(picture) for picture in (b"1", b"2", b"3"))


def quarantine_on(shelf: QuarantineShelf) -> Quarantine:
    return Quarantine(shelf, IngestMetrics(CollectorRegistry()))


def test_two_crashes_without_an_answer_in_between_prove_a_picture() -> None:
    """An answer clears it; those that were only there once stay suspects."""
    quarantine = quarantine_on(MemoryShelf())
    assert quarantine.is_empty
    quarantine.crashed(DOOR, [FIRST, SECOND])
    assert quarantine.suspects(FIRST)
    assert not quarantine.holds(FIRST)
    quarantine.cleared(SECOND)
    quarantine.crashed(DOOR, [FIRST, SECOND])
    assert quarantine.holds(FIRST)
    assert not quarantine.suspects(FIRST)
    assert not quarantine.holds(SECOND)
    assert (quarantine.count(DOOR), quarantine.count(HALL)) == (1, 0)


async def assert_keeps_poison(shelf: QuarantineShelf) -> None:
    """What every shelf does."""
    assert await shelf.load() == {}
    await shelf.put({FIRST: DOOR, SECOND: HALL})
    await shelf.put({FIRST: DOOR})
    assert await shelf.load() == {FIRST: DOOR, SECOND: HALL}
    await shelf.forget(DOOR)
    assert await shelf.load() == {SECOND: HALL}
    await shelf.put({FIRST: DOOR})
    await shelf.put({THIRD: DOOR})
    assert len(await shelf.load()) == 2


async def test_both_shelves_keep_poison_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and a real Valkey keep the same, forget a camera's, and are bounded."""
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    await assert_keeps_poison(MemoryShelf())
    with running_server(tmp_path) as server:
        store = StoreConnection(server.url)
        await assert_keeps_poison(RedisShelf(store))
        await store.close()


async def test_what_one_worker_proves_another_one_knows(tmp_path: Path) -> None:
    """It survives an absent store, and a day later it is tried anew."""
    with running_server(tmp_path) as server:
        store = StoreConnection(server.url)
        first, second = quarantine_on(RedisShelf(store)), quarantine_on(RedisShelf(store))
        for _ in range(2):
            first.crashed(DOOR, [FIRST])
        server.kill()
        await first.save()
        assert first.holds(FIRST)
        server.start()
        await first.save()
        await second.settle()
        assert second.holds(FIRST)
        with client_of(server) as client:
            client.zadd("{tessera:ingest:cameras}:quarantine", {f"{FIRST} {DOOR}": 1.0})
        await second.settle()
        assert not second.holds(FIRST)
        await store.close()
