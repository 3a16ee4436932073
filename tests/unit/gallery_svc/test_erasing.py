"""Erasures: gone here before the answer, gone everywhere before COMPLETE, finished by whoever is alive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from gallery_svc.erasing import (
    DUE_S,
    RETRY_PACE_S,
    REWRITE_PACE_S,
    Eraser,
    ErasureAnswer,
    ErasureFinisher,
    ErasureRequest,
)
from gallery_svc.keeping_apart import KeepingApart
from gallery_svc.members import QUIET_INTERVAL_S, SignsOfLife
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.persons.erasing import PersonEraser
from gallery_svc.persons.keeping import LookKeeper
from gallery_svc.probes import Deadline
from gallery_svc.replica import Replica
from gallery_svc.rows import half
from gallery_svc.signing import Signer
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.change_records import Member
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.event_records import NewEvent, SightingBody
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.memory_side import MEMBER_SILENT_S
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, TemplateRecord
from gallery_svc.store.write_records import Enrollment
from tessera.chassis.clock import ManualClock, SystemClock
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.errors import NotFoundError, PositionNotReachedError, RequestIdReusedError, UnavailableError
from tessera.domain.ids import CameraId, CollectionId, EventId, ModelId, RequestId, SubjectId, TemplateId, TrackletId
from tessera.domain.observation import Box, Quality
from tessera.trust.receipts import ErasureState, verify_receipt
from tests.plain_index import PlainIndex

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
STAFF, MODEL, ADA = CollectionId("staff"), ModelId("m@1"), SubjectId("ada")
LATER = timedelta(hours=1)
QUALITY = Quality(0.9, 0.5, 0.5, 1.0, 0.9, 0.9)


class FiledStore(MemoryStore):
    """A store that counts how often its files are written anew, and whose disk a test fills."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(None, seconds=clock.monotonic_s)
        self.rewrites = 0
        self.disk_full = False
        self.heads_away = False

    async def rewrite_files(self) -> None:
        """Count, or fail."""
        if self.disk_full:
            raise UnavailableError("store", "no space left")
        self.rewrites += 1

    async def heads(self, collection_ids: Sequence[CollectionId]) -> dict:  # type: ignore[type-arg]  # as the parent's
        """Where the logs stand, if they can be read."""
        if self.heads_away:
            raise UnavailableError("store")
        return await super().heads(collection_ids)


@dataclass
class Gallery:
    """One gallery process over a store."""

    name: str
    store: FiledStore
    clock: ManualClock
    rewrite: bool = True
    metrics: GalleryMetrics = field(default_factory=lambda: GalleryMetrics(CollectorRegistry()))
    signer: Signer = field(default_factory=Signer.ephemeral)

    def __post_init__(self) -> None:
        self.replica = Replica(self.store, PlainIndex, self.metrics, SystemClock(), 0.2)
        self.signs = SignsOfLife(self.store, self.replica, self.clock, self.name)
        self.eraser = Eraser(
            store=self.store,
            replica=self.replica,
            apart=KeepingApart(self.store, self.clock),
            bodies=PersonEraser(self.store, LookKeeper(self.store, self.clock, self.metrics)),
            signer=self.signer,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.finisher = ErasureFinisher(
            store=self.store,
            bodies=PersonEraser(self.store, LookKeeper(self.store, self.clock, self.metrics)),
            clock=self.clock,
            metrics=self.metrics,
            member_id=self.name,
            interval_s=2.0,
            rewrite=self.rewrite,
        )

    async def follow(self) -> None:
        """Take what is new, and tell so."""
        await self.replica.refresh()
        await self.replica.settle(1.0)
        self.signs._told_at_s = None
        await self.signs.tell()

    async def look(self) -> None:
        """One look of the finisher, and the end of what it began."""
        await self.finisher.step()
        if self.finisher._rewriting is not None:
            await self.finisher._rewriting

    async def erase(self, name: str = "ada", request_id: str = "r1", limit_s: float = 5.0) -> ErasureAnswer:
        """Erase somebody."""
        wanted = ErasureRequest(STAFF, SubjectId(name), RequestId(request_id) if request_id else None, "peer")
        return await self.eraser.erase(wanted, Deadline(SystemClock(), limit_s))

    async def state(self, answer: ErasureAnswer) -> ErasureState:
        """How far an erasure is now."""
        return (await self.eraser.receipt(STAFF, answer.receipt.receipt_id)).receipt.state

    def value(self, name: str) -> float:
        """What a metric shows."""
        return self.metrics.registry.get_sample_value(f"tessera_gallery_{name}") or 0.0


@dataclass
class World:
    """Galleries over one store, and the clock of all."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(NOON))

    def __post_init__(self) -> None:
        self.store = FiledStore(self.clock)

    async def gallery(self, name: str, *, rewrite: bool = True) -> Gallery:
        """One that follows."""
        made = Gallery(name, self.store, self.clock, rewrite)
        await made.follow()
        return made

    async def enroll(self, *names: str) -> None:
        """Enrol, each with one template."""
        if await self.store.find_collection(STAFF) is None:
            await self.store.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, NOON))
        for name in names:
            template = NewTemplate(TemplateRecord(TemplateId(f"t-{name}"), MODEL, NOON, None, ""), half(np.ones(4) / 2))
            audit = AuditRecord("EnrollSubject", NOON, "ev-1", collection_id=STAFF)
            enrollment = Enrollment(STAFF, SubjectId(name), SubjectProfile(), (template,), NOON, audit)
            await self.store.enroll(enrollment)

    async def see(self, name: str, tracklet: str) -> None:
        """Record a sighting of somebody."""
        body = SightingBody(
            TrackletId(tracklet), STAFF, Modality.FACE, Outcome.MATCH, (), None, MODEL, "ev-2", NOON, 1,
            SubjectId(name), NOON, NOON, 2, Box(0, 0, 1, 1), QUALITY, False, 0.1,
        )  # fmt: skip
        event = NewEvent(EventId(f"sighting-{tracklet}"), CameraId("door"), NOON, NOON, NOON + LATER, body, tracklet)
        await self.store.record_event(event, None)


@pytest.fixture
async def world() -> World:
    """A store with Ada and Bob in it."""
    made = World()
    await made.enroll("ada", "bob")
    return made


# ---- the answer


async def test_the_answer_says_what_was_erased_and_can_be_checked(world: World) -> None:
    """Signed, ACCEPTED, and by then gone from the store and from the index of the gallery that answers."""
    gallery = await world.gallery("a")
    await world.see("ada", "t1")
    await world.see("bob", "t2")
    answer = await gallery.erase()
    receipt = answer.receipt
    assert (receipt.state, receipt.templates_erased, receipt.events_erased) == (ErasureState.ACCEPTED, 1, 1)
    assert verify_receipt(answer.signed, gallery.signer.public_keys).findings == ()
    live = await gallery.replica.collection(STAFF)
    assert ADA not in live.index
    assert SubjectId("bob") in live.index
    assert await world.store.find_subject(STAFF, ADA) is None
    assert [record.event.body.subject_id for record in await world.store.events_after(0, 10)] == ["bob"]  # type: ignore[union-attr]  # sightings


async def test_the_audit_log_names_the_receipt(world: World) -> None:
    """So that whoever reads the log finds the receipt, and the other way round."""
    gallery = await world.gallery("a")
    answer = await gallery.erase()
    newest = (await world.store.audit_after("staff/00", 0, 100))[-1].entry.decode()
    assert answer.receipt.receipt_id in newest
    assert "DeleteSubject" in newest


async def test_a_retry_gets_the_same_receipt_as_far_as_it_is_by_then(world: World) -> None:
    """The same id, ACCEPTED or COMPLETE; another subject under the same request id is refused."""
    gallery = await world.gallery("a")
    first = await gallery.erase()
    assert await gallery.erase() == first
    await _finished(gallery)
    again = await gallery.erase()
    assert (again.receipt.receipt_id, again.receipt.state) == (first.receipt.receipt_id, ErasureState.COMPLETE)
    with pytest.raises(RequestIdReusedError):
        await gallery.erase("bob")


async def test_nobody_is_erased_twice(world: World) -> None:
    """A subject that is not there, a collection that is not, a receipt that never was."""
    gallery = await world.gallery("a")
    await gallery.erase()
    with pytest.raises(NotFoundError, match="subject"):
        await gallery.erase(request_id="r2")
    with pytest.raises(NotFoundError, match="receipt"):
        await gallery.eraser.receipt(STAFF, "receipt-none")


async def test_nothing_is_signed_while_the_gallery_that_answers_still_has_it(world: World) -> None:
    """ACCEPTED would not be true: the call is told to come again, and then gets its receipt."""
    gallery = await world.gallery("a")
    world.store.heads_away = True
    with pytest.raises(PositionNotReachedError):
        await gallery.erase()
    world.store.heads_away = False
    assert (await gallery.erase()).receipt.state is ErasureState.ACCEPTED


# ---- the end


async def _finished(gallery: Gallery, looks: int = 3) -> None:
    for _ in range(looks):
        await gallery.follow()
        await gallery.look()
        gallery.clock.advance(2)


async def test_it_is_complete_when_every_gallery_has_let_go(world: World) -> None:
    """The second gallery follows late: until then the receipt says ACCEPTED; afterwards it counts both."""
    first, second = await world.gallery("a"), await world.gallery("b")
    answer = await first.erase()
    await _finished(first)
    assert await first.state(answer) is ErasureState.ACCEPTED
    assert first.value("erasures_unfinished") == 1
    await second.follow()
    await _finished(first)
    complete = await first.eraser.receipt(STAFF, answer.receipt.receipt_id)
    assert (complete.receipt.state, complete.receipt.replicas_confirmed) == (ErasureState.COMPLETE, 2)
    assert verify_receipt(complete.signed, first.signer.public_keys).findings == ()
    assert await first.eraser.receipt(STAFF, answer.receipt.receipt_id) == complete
    assert first.value("erasures_unfinished") == 0
    assert first.value("erasure_seconds_count") == 1


async def test_a_gallery_that_has_not_loaded_the_collection_is_asked_once_more(world: World) -> None:
    """What it told before the erasure does not count: it may have begun to load since."""
    first = await world.gallery("a")
    await world.store.heartbeat(Member("b", NOON, {}))
    answer = await first.erase()
    await _finished(first)
    assert await first.state(answer) is ErasureState.ACCEPTED
    await world.store.heartbeat(Member("b", NOON + timedelta(seconds=QUIET_INTERVAL_S), {}))
    await _finished(first)
    assert await first.state(answer) is ErasureState.COMPLETE


async def test_a_gallery_that_died_is_left_out_and_that_is_said(world: World) -> None:
    """Within 60 s of the erasure all the same; the receipt does not count it."""
    first = await world.gallery("a")
    await world.gallery("b")
    answer = await first.erase()
    with capture_logs() as logs:
        while await first.state(answer) is ErasureState.ACCEPTED:
            await _finished(first, 1)
    assert ("erasure.member_left_out", "b") in [(log["event"], log.get("member")) for log in logs]
    receipt = (await first.eraser.receipt(STAFF, answer.receipt.receipt_id)).receipt
    assert receipt.replicas_confirmed == 1
    assert receipt.completed_at is not None
    assert MEMBER_SILENT_S <= (receipt.completed_at - receipt.erased_at).total_seconds() < DUE_S


async def test_another_gallery_finishes_what_a_dead_one_began(world: World) -> None:
    """Also when the first died before the sightings were gone."""
    first, second = await world.gallery("a"), await world.gallery("b")
    answer = await first.erase()
    await first.look()
    await world.see("ada", "late")
    while await second.state(answer) is ErasureState.ACCEPTED:
        await _finished(second, 1)
    assert await world.store.events_after(0, 10) == []
    assert world.clock.now() - NOON < timedelta(seconds=DUE_S)


async def test_one_gallery_at_a_time_finishes(world: World) -> None:
    """The other stands by while the first is alive."""
    first, second = await world.gallery("a"), await world.gallery("b")
    await first.erase()
    await first.look()
    await second.look()
    assert (first.store.rewrites, len(second.finisher._watched)) == (1, 0)


async def test_a_sighting_that_came_late_goes_too(world: World) -> None:
    """A camera of another gallery went on matching: what it told is gone from the store, and from its files."""
    first, second = await world.gallery("a"), await world.gallery("b")
    answer = await first.erase()
    await first.look()
    await world.see("ada", "t9")
    await second.follow()
    await _finished(first, 2)
    assert await world.store.events_after(0, 10) == []
    assert await first.state(answer) is ErasureState.ACCEPTED
    world.clock.advance(REWRITE_PACE_S)
    await first.follow()
    await second.follow()
    await _finished(first, 2)
    assert (await first.state(answer), world.store.rewrites) == (ErasureState.COMPLETE, 2)


# ---- files


async def test_many_erasures_share_a_rewrite(world: World) -> None:
    """Files are written anew at once, and then every 20 s at most."""
    gallery = await world.gallery("a")
    await world.enroll(*(f"s{number}" for number in range(8)))
    answers = []
    for number in range(8):
        answers.append(await gallery.erase(f"s{number}", f"q{number}"))
        await gallery.follow()
        await gallery.look()
        world.clock.advance(1)
    assert world.store.rewrites == 1
    world.clock.advance(REWRITE_PACE_S)
    await _finished(gallery)
    assert world.store.rewrites == 2
    assert {await gallery.state(answer) for answer in answers} == {ErasureState.COMPLETE}


async def test_a_disk_that_is_full_delays_the_end_and_is_told(world: World) -> None:
    """It is tried again; after 60 s the log says what the erasure waits for."""
    gallery = await world.gallery("a")
    answer = await gallery.erase()
    world.store.disk_full = True
    with capture_logs() as logs:
        for _ in range(40):
            await _finished(gallery, 1)
    assert await gallery.state(answer) is ErasureState.ACCEPTED
    assert "no space left" in next(log["why"] for log in logs if log["event"] == "erasures.files_kept")
    assert [log["waits_for"] for log in logs if log["event"] == "erasure.overdue"] == [["files"]]
    world.store.disk_full = False
    world.clock.advance(RETRY_PACE_S)
    await _finished(gallery)
    assert await gallery.state(answer) is ErasureState.COMPLETE


async def test_without_rewriting_the_end_does_not_wait_for_files(world: World) -> None:
    """The setting says so."""
    gallery = await world.gallery("a", rewrite=False)
    answer = await gallery.erase()
    await _finished(gallery)
    assert (await gallery.state(answer), world.store.rewrites) == (ErasureState.COMPLETE, 0)


# ---- the task


async def test_the_finisher_goes_on_after_an_error(world: World) -> None:
    """Whatever it is: told, and tried again at the next look."""
    gallery = await world.gallery("a")
    await gallery.erase()
    looks: list[Exception] = [UnavailableError("store", "away"), UnavailableError("store", "away"), ValueError("odd")]
    failed = asyncio.Event()

    async def fails() -> None:
        if not looks:
            failed.set()
            gallery.finisher.stop()
            return
        raise looks.pop(0)

    gallery.finisher.step = fails  # type: ignore[method-assign]  # what it meets
    gallery.finisher._interval_s = 0.001
    with capture_logs() as logs:
        await gallery.finisher.run()
    assert failed.is_set()
    assert [log["event"] for log in logs] == ["erasures.delayed", "erasures.failed"]
