"""Enrolment: what `enrolment_judging` finds good enough becomes templates, and all of it is one write or none.

A retry with the same request id gets the first answer again, without the encoder being asked. A call without a request
id gets one here: when nobody can say whether its write holds, the error has the id that settles it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict
from datetime import datetime

from gallery_svc.collections import Collections, require_persistent
from gallery_svc.enrolment_judging import EnrolmentJudge, Taken, Tally
from gallery_svc.enrolment_values import EnrolmentAnswer, EnrolmentRequest, SampleOutcome, SampleOutcomes
from gallery_svc.ids import time_ordered_id
from gallery_svc.keeping_apart import KeepingApart
from gallery_svc.live import LiveCollection
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import Deadline, Probe
from gallery_svc.replica import Replica
from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.protocol import Store, shard_of
from gallery_svc.store.write_records import Enrolled, Enrollment, RequestKey
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.embedding import Embedding
from tessera.domain.errors import (
    InvalidInputError,
    ModelMismatchError,
    NotFoundError,
    TesseraError,
)
from tessera.domain.ids import CollectionId, RequestId, SubjectId

MAX_SAMPLES = 16


class Enroller:
    """Enrols subjects.

    Args:
        store: where they are kept.
        replica: what must see them at once.
        collections: makes the default collection when it is missing.
        judge: says what may be enrolled, and where it goes.
        apart: keeps those apart who look alike.
        clock: for the times of records.
        metrics: where it counts.
    """

    def __init__(
        self,
        *,
        store: Store,
        replica: Replica,
        collections: Collections,
        judge: EnrolmentJudge,
        apart: KeepingApart,
        clock: Clock,
        metrics: GalleryMetrics,
    ) -> None:
        self._store = store
        self._replica = replica
        self._collections = collections
        self._judge = judge
        self._apart = apart
        self._clock = clock
        self._metrics = metrics

    async def enroll(self, request: EnrolmentRequest, deadline: Deadline) -> EnrolmentAnswer:
        """Add templates to a subject, and the subject itself when it is new.

        Raises:
            NotFoundError: the collection does not exist.
            InvalidInputError: no samples, or too many.
            PreconditionError: it is a collection of persons where nobody may be enrolled.
            SamplesRejectedError: no sample can be used, or not each, where each must be.
            DuplicateSubjectError: the samples already are another subject's, and that is refused.
            ModelMismatchError: an embedding is of another model than the collection.
            RequestIdReusedError: the request id came before with other content.
        """
        if not 1 <= len(request.samples) <= MAX_SAMPLES:
            raise InvalidInputError("samples", f"{len(request.samples)} samples", f"1 to {MAX_SAMPLES}")
        live = await self._collection(request.collection_id)
        require_persistent(live.record)
        key = self._key(request)
        if request.request_id is not None:
            earlier = await self._store.find_enrolled(request.collection_id, key)
            if earlier is not None:
                return self._answer(earlier)
        enrolled = await self._write(request, key, live, deadline)
        # It is written, whatever becomes of the index here: that follows when the store is back.
        with contextlib.suppress(TesseraError):
            await self._replica.at_positions(request.collection_id, [enrolled.position], deadline)
        return self._answer(enrolled)

    async def _write(
        self, request: EnrolmentRequest, key: RequestKey, live: LiveCollection, deadline: Deadline
    ) -> Enrolled:
        try:
            return await self._judge_and_write(request, key, live, deadline)
        except ModelMismatchError:
            # Another encoder may just have become the collection's: pictures can be embedded by that one.
            newer = await self._replica.catch_up(request.collection_id)
            if newer.record.model_id == live.record.model_id:
                raise
            return await self._judge_and_write(request, key, newer, deadline)

    async def look(self, request: EnrolmentRequest, deadline: Deadline) -> tuple[SampleOutcome, ...]:
        """What `enroll` would say of the samples; nothing is written or counted, and no template has an id that lasts.

        Raises:
            As `enroll`.
        """
        live = await self._collection(request.collection_id)
        require_persistent(live.record)
        return (await self._judge.judge(request, live, deadline, Tally())).outcomes

    async def _judge_and_write(
        self, request: EnrolmentRequest, key: RequestKey, live: LiveCollection, deadline: Deadline
    ) -> Enrolled:
        tally = Tally()
        try:
            taken = await self._judge.judge(request, live, deadline, tally)
        finally:
            tally.tell(self._metrics)
        enrollment = self._enrollment(request, key, live.record, taken)
        collection_id, subject_id = enrollment.collection_id, enrollment.subject_id
        if not (others := enrollment.profile.distinct_from):
            return await self._store.enroll(enrollment)
        before = await self._apart.listed(collection_id, subject_id)
        async with self._apart.on_both(collection_id, subject_id, before, others, request.caller):
            return await self._store.enroll(enrollment)

    def _key(self, request: EnrolmentRequest) -> RequestKey:
        made = RequestId(time_ordered_id("request", self._clock.now()))
        return RequestKey(request.request_id or made, _digest(request))

    async def _collection(self, collection_id: CollectionId) -> LiveCollection:
        try:
            return await self._replica.collection(collection_id)
        except NotFoundError:
            await self._collections.ensure_default(collection_id)
            return await self._replica.collection(collection_id)

    def _enrollment(
        self,
        request: EnrolmentRequest,
        key: RequestKey,
        record: CollectionRecord,
        taken: Taken,
    ) -> Enrollment:
        now = self._clock.now()
        subject_id = taken.destination.subject_id or _made_subject_id(now, key.request_id, record.shards)
        audit = AuditRecord(
            method="EnrollSubject",
            at=now,
            evidence_id=time_ordered_id("ev", now),
            caller=request.caller,
            collection_id=request.collection_id,
            subject_id=subject_id,
            request_id=key.request_id,
        )
        note = codec.dump(SampleOutcomes(taken.outcomes, taken.destination.duplicates, taken.destination.merged))
        return Enrollment(
            request.collection_id, subject_id, taken.destination.profile, taken.templates, now, audit, key, note
        )

    def _answer(self, enrolled: Enrolled) -> EnrolmentAnswer:
        told = codec.load(SampleOutcomes, enrolled.note, "note")
        self._metrics.enrolments.labels("replayed" if enrolled.replayed else "enrolled").inc()
        if enrolled.replayed:
            self._metrics.replays.labels("EnrollSubject").inc()
        get_logger().info(
            "subject.enrolled",
            collection=enrolled.subject.collection_id,
            templates=sum(outcome.template_id is not None for outcome in told.samples),
            replayed=enrolled.replayed,
            duplicates=len(told.duplicates),
            merged=told.merged,
        )
        return EnrolmentAnswer(enrolled, told.samples, told.duplicates, told.merged)


def _made_subject_id(now: datetime, request_id: RequestId, shards: int) -> SubjectId:
    """An id in the shard of its request: what both write is then one write."""
    shard = shard_of(request_id, shards)
    while shard_of(made := time_ordered_id("subject", now), shards) != shard:
        pass
    return SubjectId(made)


def _digest(request: EnrolmentRequest) -> str:
    told = {
        "subject_id": request.subject_id,
        "samples": [_sample_digest(probe) for probe in request.samples],
        "profile": asdict(request.profile),
        "require_all": request.require_all,
        "policies": [request.duplicate_policy, request.outlier_policy],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _sample_digest(probe: Probe) -> str:
    if isinstance(probe, Embedding):
        return hashlib.sha256(probe.model_id.encode() + probe.vector.astype("<f4").tobytes()).hexdigest()
    return hashlib.sha256(probe.data).hexdigest()
