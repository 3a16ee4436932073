"""What the congruence suite writes into each store: one collection, a few people, an audit entry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from gallery_svc.rows import SearchRow, TemplateRow, half
from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord, StoredAudit
from gallery_svc.store.collection_records import CollectionRecord, EpochRecord, EpochState, ShardPosition
from gallery_svc.store.person_records import PersonLook
from gallery_svc.store.protocol import Store, audit_log, shard_of
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, SubjectRecord, TemplateRecord
from gallery_svc.store.write_records import Enrollment, Erasure, ProfileUpdate, RequestKey, TemplateDeletion
from tessera.domain.calibration import RateKind, Threshold
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
from tessera.domain.ids import (
    CalibrationId,
    CameraId,
    CollectionId,
    ModelId,
    RequestId,
    SubjectId,
    TemplateId,
    TrackletId,
)
from tessera.domain.observation import Box, FaceOnBody, Quality
from tessera.domain.reasons import Reason

AT = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
STAFF = CollectionId("staff")
MODEL = ModelId("face@1")
NEXT_MODEL = ModelId("face@2")
ADA, BOB = SubjectId("ada"), SubjectId("bob")
QUALITY = Quality(0.9, 0.5, 0.4, 1.0, 0.8, 0.4, (Reason.LOW_CONTRAST,))
THRESHOLD = Threshold(0.4, RateKind.FPIR, 0.01, 1e-4, Interval(5e-5, 2e-4), 7, MODEL, CalibrationId("cal-1"))
PROFILE = SubjectProfile(
    display_name="Ada",
    external_id="4711",
    labels=("staff", "day"),
    metadata={"floor": "3"},
    valid_from=AT,
    camera_ids=("door",),
)
BOTH_EPOCHS = (EpochRecord(1, MODEL, EpochState.ACTIVE), EpochRecord(2, NEXT_MODEL, EpochState.SHADOW))


def collection(collection_id: CollectionId = STAFF, shards: int = 1) -> CollectionRecord:
    """A collection of faces that keeps pictures."""
    return CollectionRecord(collection_id, Modality.FACE, MODEL, AT, shards=shards, keep_source_images=True)


def audit(method: str = "EnrollSubject", collection_id: CollectionId | None = STAFF) -> AuditRecord:
    """An audit entry with every field set."""
    return AuditRecord(method, AT, "ev-1", "peer", collection_id, ADA, "r", Outcome.MATCH, THRESHOLD)


def request(name: str = "r1", digest: str = "digest") -> RequestKey:
    """A request id, and what it asks for."""
    return RequestKey(RequestId(name), digest)


def template(
    name: str, vector: list[float] | None = None, model_id: ModelId = MODEL, picture: bytes | None = None
) -> NewTemplate:
    """A template of four numbers."""
    record = TemplateRecord(TemplateId(name), model_id, AT, QUALITY, "0" * 64)
    return NewTemplate(record, half(vector or [1.0, 0.0, 0.0, 0.0]), picture)


def enrollment(*templates: NewTemplate, subject_id: SubjectId = ADA, key: RequestKey | None = None) -> Enrollment:
    """An enrolment of Ada, or of somebody else."""
    return Enrollment(STAFF, subject_id, PROFILE, templates, AT, audit(), key, "the note")


def update(profile: SubjectProfile, *names: str, expected: int = 0, key: RequestKey | None = None) -> ProfileUpdate:
    """A change of what is said of Ada."""
    return ProfileUpdate(STAFF, ADA, profile, frozenset(names), LATER, audit("UpdateSubject"), expected, key)


def deletion(name: str, key: RequestKey | None = None) -> TemplateDeletion:
    """The end of one of Ada's templates."""
    return TemplateDeletion(STAFF, ADA, TemplateId(name), LATER, audit("DeleteTemplate"), key)


def erasure(key: RequestKey | None = None, subject_id: SubjectId = ADA, receipt_id: str = "receipt-1") -> Erasure:
    """The end of Ada."""
    return Erasure(STAFF, subject_id, receipt_id, 2, AT, audit("DeleteSubject"), key)


def next_row(*names: str, subject_id: SubjectId = ADA) -> SearchRow:
    """Ada's templates as the next model sees them."""
    templates = tuple(TemplateRow(TemplateId(name), half([0.0, 0.6, 0.8])) for name in names)
    return SearchRow(subject_id, PROFILE.searched, templates)


def names_in_shard(shard: int, shards: int, count: int) -> list[str]:
    """Subject ids (or request ids) that live in one shard."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        name = f"n{number}"
        if shard_of(name, shards) == shard:
            found.append(name)
        number += 1
    return found


async def audited(store: Store, log: str) -> list[AuditRecord]:
    """What stands in an audit log."""
    return [_record(entry) for entry in await store.audit_after(log, 0, 1000)]


def _record(entry: StoredAudit) -> AuditRecord:
    return codec.load(AuditRecord, entry.entry, "audit")


async def audited_everywhere(store: Store, shards: int) -> list[str]:
    """The methods in all audit logs of the collection, shard by shard."""
    logs = [await audited(store, audit_log(STAFF, shard)) for shard in range(shards)]
    return [record.method for log in logs for record in log]


async def changes_so_far(store: Store) -> int:
    """How many changes the collection's logs tell of."""
    head = (await store.heads([STAFF]))[STAFF]
    return sum(position.sequence for position in head.positions)


async def counts(store: Store) -> tuple[int, int]:
    """(subjects, templates) by the collection's heads."""
    head = (await store.heads([STAFF]))[STAFF]
    return head.subject_count, head.template_count


async def rows_of(store: Store, shards: int, epoch: int = 1) -> dict[str, tuple[list[str], list[list[float]], str]]:
    """Every subject by a bulk load of all shards: template ids, vectors, display name."""
    found: dict[str, tuple[list[str], list[list[float]], str]] = {}
    for shard in range(shards):
        async for batch in store.load_rows(STAFF, shard, epoch):
            at = 0
            for subject_id, name, count in zip(batch.subject_ids, batch.display_names, batch.counts, strict=True):
                vectors = batch.vectors[at : at + count].astype(np.float64).round(3).tolist()
                found[subject_id] = (list(batch.template_ids[at : at + count]), vectors, name)
                at += count
    return found


async def present(store: Store, subject_id: SubjectId = ADA) -> SubjectRecord:
    """A subject that is there."""
    found = await store.find_subject(STAFF, subject_id)
    assert found is not None
    return found


def first_of(subject_id: SubjectId, shards: int, sequence: int = 1) -> ShardPosition:
    """A position in a subject's shard."""
    return ShardPosition(shard_of(subject_id, shards), sequence)


def look(name: str, person: str = "person-1", seen_s: float = 0.0) -> PersonLook:
    """A look at a tracklet that was seen so long after AT."""
    seen_at = AT + timedelta(seconds=seen_s)
    return PersonLook(
        collection_id=STAFF,
        tracklet_id=TrackletId(name),
        camera_id=CameraId("door"),
        person_id=person,
        person_since=AT,
        model_id=MODEL,
        first_seen=AT,
        last_seen=seen_at,
        seen_at=seen_at,
        vector=half(np.array([0.6, 0.8, 0.0, 0.0], np.float32)),
        box=Box(1.5, 2.0, 30.0, 80.25),
        best_shot_id="shot-1",
        zones=("gate", "stairs, north"),
        face=FaceOnBody(TrackletId("f1"), 7, 1),
    )
