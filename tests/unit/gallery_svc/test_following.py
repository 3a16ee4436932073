"""Readiness: a gallery takes work when its store is there and its indexes are loaded and fresh; else it says why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from gallery_svc.calibrations import Calibrations
from gallery_svc.collections import DEFAULT_COLLECTION, Collections
from gallery_svc.following import Follower
from gallery_svc.labelled import OwnSamples
from gallery_svc.members import SignsOfLife
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.replica import RELOADING, Replica
from gallery_svc.rows import RowBatch, half
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, TemplateRecord
from gallery_svc.store.write_records import Enrollment
from tessera.chassis.clock import ManualClock
from tessera.domain.errors import KeyMissingError, StoreCorruptError, TesseraError, UnavailableError
from tessera.domain.ids import SubjectId, TemplateId
from tests.gallery_world import MODEL, THRESHOLDS
from tests.plain_index import PlainIndex

AT = datetime(2026, 11, 22, tzinfo=UTC)


class TroubledStore(MemoryStore):
    """A store that is troubled for as long as a test says so."""

    def __init__(self) -> None:
        super().__init__(None, log_kept=1)
        self.trouble: TesseraError | None = None
        self.prepared = 0
        self.rows_may_go = asyncio.Event()
        self.rows_may_go.set()

    async def prepare(self) -> None:
        """Counted."""
        if isinstance(self.trouble, UnavailableError):
            raise self.trouble
        self.prepared += 1

    async def list_collections(self) -> tuple[CollectionRecord, ...]:
        """All, unless there is trouble."""
        if self.trouble is not None:
            raise self.trouble
        return await super().list_collections()

    async def load_rows(self, *where: object) -> AsyncIterator[RowBatch]:  # type: ignore[override]
        """Rows, when they may go."""
        await self.rows_may_go.wait()
        async for batch in super().load_rows(*where):  # type: ignore[arg-type]
            yield batch


class Stage:
    """A follower over a troubled store."""

    def __init__(self) -> None:
        self.store = TroubledStore()
        self.clock = ManualClock(AT)
        self.metrics = GalleryMetrics(CollectorRegistry())
        self.replica = Replica(self.store, PlainIndex, self.metrics, self.clock)
        self.told: list[bool] = []
        thresholds = THRESHOLDS.of_one_gallery()
        self.follower = Follower(
            prepare=self.store.prepare,
            replica=self.replica,
            collections=Collections(self.store, self.replica, thresholds, self.clock),
            calibrations=Calibrations(self.store, thresholds, OwnSamples(self.store), self.clock),
            signs=SignsOfLife(self.store, self.replica, self.clock, "gallery-1"),
            metrics=self.metrics,
            interval_s=0.05,
            max_lag_s=5.0,
            set_ready=self._set_ready,
        )

    async def _set_ready(self, ready: bool) -> None:
        self.told.append(ready)

    async def enroll(self, name: str) -> None:
        """As another gallery does."""
        template = NewTemplate(TemplateRecord(TemplateId(f"t-{name}"), MODEL, AT, None, ""), half(np.ones(4) / 2))
        audit = AuditRecord("EnrollSubject", AT, "ev-1", collection_id=DEFAULT_COLLECTION)
        enrollment = Enrollment(DEFAULT_COLLECTION, SubjectId(name), SubjectProfile(), (template,), AT, audit)
        await self.store.enroll(enrollment)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A follower that has not looked yet."""
    made = Stage()
    yield made
    await made.replica.close()


async def test_it_is_ready_when_everything_is_loaded(stage: Stage) -> None:
    """Not before: with half of the collections, nobody of the others would be found."""
    stage.store.rows_may_go.clear()
    await stage.follower.step()
    assert stage.told == []
    stage.store.rows_may_go.set()
    await stage.follower.step()
    assert stage.told == [True]
    assert [member.member_id for member in await stage.store.members()] == ["gallery-1"]


async def test_an_index_that_stays_behind_is_not_ready_and_goes_on_answering(stage: Stage) -> None:
    """For max_lag_s it is; after that the answers still come, and say how far behind they are."""
    await stage.follower.step()
    await stage.enroll("ada")
    await stage.follower.step()
    stage.store.rows_may_go.clear()
    for name in ("bob", "eve"):
        await stage.enroll(name)
    await stage.follower.step()
    assert stage.told == [True]
    stage.clock.advance(6.0)
    await stage.follower.step()
    assert stage.told == [True, False]
    behind = stage.replica.behind(DEFAULT_COLLECTION)
    assert (behind.changes, behind.seconds, behind.why) == (2, 6.0, RELOADING)
    labels = {"collection": DEFAULT_COLLECTION}
    assert stage.metrics.registry.get_sample_value("tessera_gallery_behind_seconds", labels) == 6.0
    assert SubjectId("ada") in (await stage.replica.collection(DEFAULT_COLLECTION)).index
    stage.store.rows_may_go.set()
    await stage.follower.step()
    await stage.follower.step()
    assert stage.told == [True, False, True]
    assert stage.replica.behind(DEFAULT_COLLECTION).seconds == 0.0


async def test_a_store_that_was_away_is_checked_again(stage: Stage) -> None:
    """What answers next may be another server."""
    await stage.follower.step()
    stage.store.trouble = UnavailableError("store")
    await stage.follower.step()
    assert stage.told == [True, False]
    assert stage.metrics.registry.get_sample_value("tessera_gallery_store_up") == 0
    stage.store.trouble = None
    await stage.follower.step()
    assert (stage.told, stage.store.prepared) == ([True, False, True], 2)


@pytest.mark.parametrize("trouble", [StoreCorruptError("k", "half of a write"), KeyMissingError("ab12")])
async def test_a_damaged_store_ends_a_start_and_not_a_gallery_that_runs(stage: Stage, trouble: TesseraError) -> None:
    """Who starts is told at once; who runs is not ready until it is mended, and knows what it knew."""
    stage.store.trouble = trouble
    with pytest.raises(type(trouble)):
        await stage.follower.step()
    stage.store.trouble = None
    await stage.follower.step()
    stage.store.trouble = trouble
    await stage.follower.step()
    assert stage.told == [True, False]
    stage.store.trouble = None
    await stage.follower.step()
    assert stage.told == [True, False, True]
