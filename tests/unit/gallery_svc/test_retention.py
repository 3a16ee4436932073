"""Retention: who was kept long enough is erased with a receipt, who was not stays, and one gallery looks at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from gallery_svc.erasing import Eraser
from gallery_svc.keeping_apart import KeepingApart
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.persons.erasing import PersonEraser
from gallery_svc.persons.keeping import LookKeeper
from gallery_svc.replica import Replica
from gallery_svc.retention import Retention
from gallery_svc.rows import half
from gallery_svc.signing import Signer
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, TemplateRecord
from gallery_svc.store.write_records import Enrollment, RequestKey
from tessera.chassis.clock import ManualClock
from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId, ModelId, RequestId, SubjectId, TemplateId
from tests.plain_index import PlainIndex

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
VISITORS, STAFF, MODEL = CollectionId("visitors"), CollectionId("staff"), ModelId("m@1")
DAY = timedelta(days=1)


class House:
    """A gallery with visitors, who are kept for a day, and staff, who are kept."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOON)
        self.store = MemoryStore(None, seconds=self.clock.monotonic_s)
        metrics = GalleryMetrics(CollectorRegistry())
        self.replica = Replica(self.store, PlainIndex, metrics, self.clock, 1.0)
        self.eraser = Eraser(
            store=self.store,
            replica=self.replica,
            apart=KeepingApart(self.store, self.clock),
            bodies=PersonEraser(self.store, LookKeeper(self.store, self.clock, metrics)),
            signer=Signer.ephemeral(),
            clock=self.clock,
            metrics=metrics,
        )

    def retention(self, member_id: str = "g-1") -> Retention:
        """What looks for those whose time is over."""
        return Retention(store=self.store, eraser=self.eraser, clock=self.clock, member_id=member_id, interval_s=1.0)

    async def open(self) -> None:
        """Make both collections."""
        visitors = CollectionRecord(VISITORS, Modality.FACE, MODEL, NOON, retention_s=DAY.total_seconds())
        await self.store.create_collection(visitors)
        await self.store.create_collection(replace(visitors, collection_id=STAFF, retention_s=None))
        await self.replica.refresh()

    async def enroll(self, collection_id: CollectionId, name: str, sample: int = 1) -> None:
        """One sample of somebody, now."""
        now, request = self.clock.now(), RequestId(f"r-{name}-{sample}")
        record = TemplateRecord(TemplateId(f"t-{name}-{sample}"), MODEL, now, None, "")
        audit = AuditRecord("EnrollSubject", now, f"ev-{name}-{sample}", "", collection_id, SubjectId(name))
        template = NewTemplate(record, half(np.eye(4, dtype=np.float32)[sample % 4]))
        key = RequestKey(request, "0" * 64)
        await self.store.enroll(
            Enrollment(collection_id, SubjectId(name), SubjectProfile(), (template,), now, audit, key, "")
        )

    async def names(self, collection_id: CollectionId) -> list[str]:
        """Who is there."""
        return [one.subject_id for one in (await self.store.list_subjects(collection_id, "", 100)).subjects]


@pytest.fixture
async def house() -> House:
    """A house with both collections."""
    house = House()
    await house.open()
    return house


async def test_those_whose_time_is_over_are_erased_and_nobody_else(house: House) -> None:
    """A day and a moment later the first visitor is gone with a receipt; the later one and the staff are there."""
    await house.enroll(VISITORS, "ada")
    await house.enroll(STAFF, "bob")
    house.clock.advance(DAY.total_seconds() / 2)
    await house.enroll(VISITORS, "cleo")
    house.clock.advance(DAY.total_seconds() / 2)
    assert await house.retention().step() == 1
    assert await house.names(VISITORS) == ["cleo"]
    assert await house.names(STAFF) == ["bob"]
    (erasure,) = await house.store.open_erasures()
    assert erasure.erased.subject_id == "ada"


async def test_a_new_sample_begins_the_time_anew(house: House) -> None:
    """The last enrolment counts, not the first."""
    await house.enroll(VISITORS, "ada")
    house.clock.advance(DAY.total_seconds() * 0.75)
    await house.enroll(VISITORS, "ada", sample=2)
    house.clock.advance(DAY.total_seconds() * 0.75)
    assert await house.retention().step() == 0
    house.clock.advance(DAY.total_seconds() * 0.25)
    assert await house.retention().step() == 1


async def test_one_gallery_looks_at_a_time(house: House) -> None:
    """While another one holds the lease nothing is erased; afterwards it is."""
    await house.enroll(VISITORS, "ada")
    house.clock.advance(2 * DAY.total_seconds())
    assert await house.store.take_lease("retention", "g-2", 60.0)
    assert await house.retention("g-1").step() == 0
    await house.store.drop_lease("retention", "g-2")
    assert await house.retention("g-1").step() == 1


async def test_more_than_a_page_is_looked_through(house: House) -> None:
    """All 210 whose time is over go in one look."""
    for number in range(210):
        await house.enroll(VISITORS, f"v-{number:03d}")
    house.clock.advance(2 * DAY.total_seconds())
    assert await house.retention().step() == 210
    assert await house.names(VISITORS) == []
