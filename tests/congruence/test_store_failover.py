"""A primary dies under four writers: nothing that was acknowledged is lost, and what is unknown settles by its id."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gallery_svc.store.durability import Durability
from gallery_svc.store.protocol import shard_of
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.write_records import Enrolled, Enrollment
from tessera.domain.errors import OutcomeUnknownError, UnavailableError
from tessera.domain.ids import SubjectId
from tests.congruence.failover_world import Group, cluster, sentinels
from tests.congruence.redis_world import store_at
from tests.congruence.store_world import STAFF, changes_so_far, collection, enrollment, request, rows_of, template
from tests.eventually import eventually
from tests.told import tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHARDS = 8
WRITERS = 4
EACH = 60
BROKEN_OFF_AFTER = 60


@dataclass
class Told:
    """What the writers were told."""

    acknowledged: dict[str, Enrolled] = field(default_factory=dict)
    unknown: int = 0
    refused: int = 0


@pytest.mark.parametrize("running", [sentinels, cluster])
async def test_a_failover_loses_nothing(
    running: Callable[[Path], contextlib.AbstractContextManager[Group]], tmp_path: Path
) -> None:
    """Each enrolment is there once, with what its writer was told; folds, logs and counts agree in every shard."""
    with running(tmp_path) as group:
        store = store_at(group.address, durability=Durability("everysec", replicas_to_wait=1, replica_timeout_s=0.3))
        await store.prepare()
        await store.create_collection(collection(shards=SHARDS))
        told = Told()
        await asyncio.gather(_end_of(group, told), *(_write(store, told, writer) for writer in range(WRITERS)))
        await _require_all(store, told, running.__name__)
        await store.close()
    assert told.unknown + told.refused > 0, "the failover was over before anybody wrote"


async def _end_of(group: Group, told: Told) -> None:
    """Kill the primary while they write; when its replica has taken over, it comes back as a replica."""

    async def enough() -> bool:
        return len(told.acknowledged) >= BROKEN_OFF_AFTER

    async def taken_over() -> bool:
        return told.unknown > 0 and await asyncio.to_thread(group.is_led_by_another)

    await eventually(enough, 90)
    group.doomed.kill()
    # The new primary has no replica now: writes to it are unknown until the old one is back. Were it back before,
    # it would lead again, without what was only on its way to its file.
    await eventually(taken_over, 90)
    group.doomed.start()


async def _write(store: RedisStore, told: Told, writer: int) -> None:
    for number in range(EACH):
        name = f"w{writer}-{number}"
        # Some requests live in their subject's shard and some do not.
        subject_id = SubjectId(name if number % 2 else _beside(name))
        wanted = enrollment(template(f"t-{name}"), subject_id=subject_id, key=request(name))
        told.acknowledged[name] = await _until_acknowledged(store, told, wanted)


async def _until_acknowledged(store: RedisStore, told: Told, wanted: Enrollment) -> Enrolled:
    while True:
        try:
            return await store.enroll(wanted)
        except OutcomeUnknownError:
            told.unknown += 1
        except UnavailableError:
            told.refused += 1
        await asyncio.sleep(0.05)


def _beside(name: str) -> str:
    return next(f"{name}.{n}" for n in range(999) if shard_of(f"{name}.{n}", SHARDS) == shard_of(name, SHARDS))


async def _require_all(store: RedisStore, told: Told, where: str) -> None:
    rows = await rows_of(store, SHARDS)
    held = {template_id for row in rows.values() for template_id in row[0]}
    lost = [name for name in told.acknowledged if f"t-{name}" not in held]
    share = f"of {len(told.acknowledged)}"
    tell(f"{where}, a failover in the middle: acknowledged writes that are lost", len(lost), share, "0", holds=not lost)
    assert len(told.acknowledged) == WRITERS * EACH
    assert {str(each.subject.subject_id): [f"t-{name}"] for name, each in told.acknowledged.items()} == {
        subject_id: row[0] for subject_id, row in rows.items()
    }
    assert await changes_so_far(store) == WRITERS * EACH
    assert await store.check(STAFF) == []
    again = await store.enroll(enrollment(template("t"), subject_id=SubjectId("x"), key=request("w0-1")))
    assert again == replace(told.acknowledged["w0-1"], replayed=True)
