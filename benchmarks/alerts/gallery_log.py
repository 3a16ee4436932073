"""An event log of the product on a private Valkey, and the judgement over it as a gallery runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry

from benchmarks.gallery.store_server import StoreServer, store_server
from gallery_svc.alerting import Alerting
from gallery_svc.events import EventLog
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.rule_book import RuleBook
from gallery_svc.store.durability import Durability
from gallery_svc.store.event_records import CameraEventBody, EventRecord, NewEvent, SightingBody, VerifyFailureBody
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.memory_side import Unstamped
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.sealing import Sealer
from tessera.chassis.clock import Clock
from tessera.domain.alerting.alerts import Alert
from tessera.domain.alerting.happenings import CameraHappened, Happening, Seen, VerifyFailed
from tessera.domain.alerting.rules import Rule
from tessera.domain.embedding import Modality
from tessera.domain.ids import CameraId, CollectionId, EventId, SubjectId, TrackletId
from tessera.domain.observation import Box, Quality

KEPT = 1_000_000


@dataclass(slots=True)
class GalleryLog:
    """A store, and the parts of a gallery that judge what is in it."""

    server: StoreServer
    store: RedisStore
    clock: Clock
    metrics: GalleryMetrics = field(default_factory=lambda: GalleryMetrics(CollectorRegistry()))

    def alerting(self, name: str = "gallery-1") -> tuple[Alerting, EventLog]:
        """A gallery's judgement, as after a start."""
        events = EventLog(self.store, self.clock, self.metrics, 5.0, 0.25)
        alerting = Alerting(
            store=self.store, events=events, clock=self.clock, metrics=self.metrics, member_id=name, lease_s=5.0
        )
        return alerting, events

    async def put(self, rules: Iterable[Rule]) -> None:
        """Make rules."""
        book = RuleBook(self.store, self.clock)
        for rule in rules:
            await book.put(rule, 0, "benchmark")

    async def fill(self, happenings: Iterable[Happening]) -> None:
        """Record events, in order."""
        for happening in happenings:
            await self.store.record_event(recorded(happening), None)

    async def alerts(self) -> list[Alert]:
        """All alerts, oldest first."""
        found: list[Alert] = []
        before = 0
        while page := await self.store.alerts_before(before, 1000):
            found += [kept.alert for kept in page]
            before = page[-1].number
        return found[::-1]

    async def messages(self) -> list[EventRecord]:
        """All messages of alerts, in order."""
        found: list[EventRecord] = []
        cursor = 0
        while records := await self.store.events_after(cursor, 1000):
            found += [record for record in records if isinstance(record.event.body, Alert)]
            cursor = records[-1].sequence
        return found


@asynccontextmanager
async def gallery_log(clock: Clock, fsync: str = "always") -> AsyncIterator[GalleryLog]:
    """A log on a Valkey of its own, which answers only what is on disk.

    Args:
        clock: of the gallery.
        fsync: of the server: `always` or `everysec`.
    """
    with store_server("--appendfsync", fsync) as server:
        door = open_door(server.url, Durability("everysec"), timeout_s=30.0)
        store = RedisStore(door, Sealer(Keyring.load("ephemeral")), Unstamped(), events_kept=KEPT, alerts_kept=KEPT)
        try:
            await store.prepare()
            yield GalleryLog(server, store, clock)
        finally:
            await store.close()


def recorded(happening: Happening) -> NewEvent:
    """A happening as the log has it."""
    return NewEvent(
        event_id=EventId(happening.event_id),
        camera_id=CameraId(happening.camera_id),
        event_time=_at(happening.event_s),
        recorded_at=_at(happening.recorded_s),
        valid_until=_at(happening.valid_until_s),
        body=_body(happening),
        content_key=str(happening.revision),
    )


def _body(happening: Happening) -> SightingBody | CameraEventBody | VerifyFailureBody:
    body = happening.body
    if isinstance(body, CameraHappened):
        return CameraEventBody(body.kind, None, "", probability=body.probability)
    if isinstance(body, VerifyFailed):
        return VerifyFailureBody(CollectionId(body.collection_id), SubjectId(body.subject_id), "ev")
    if not isinstance(body, Seen):
        raise TypeError(type(body).__name__)
    last = _at(happening.event_s)
    return SightingBody(
        tracklet_id=TrackletId(happening.event_id),
        collection_id=CollectionId(body.collection_id),
        modality=Modality.FACE,
        outcome=body.outcome,
        reasons=(),
        threshold=None,
        model_id=None,
        evidence_id="ev",
        decided_at=_at(happening.recorded_s),
        decision_revision=happening.revision,
        subject_id=SubjectId(body.subject_id) if body.subject_id else None,
        first_seen=last - timedelta(seconds=body.lasted_s),
        last_seen=last,
        frame_count=5,
        box=Box(0.0, 0.0, 100.0, 100.0),
        quality=Quality(0.9, 0.5, 0.5, 1.0, 0.9, 0.9),
        ended=body.ended,
        capture_to_decision_s=0.2,
        labels=tuple(sorted(body.labels)),
        link_id=body.link_id,
        zones=tuple(sorted(body.zones)),
    )


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
