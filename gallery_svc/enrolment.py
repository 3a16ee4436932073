"""Enrolment: each sample is judged, those that are good enough become templates, and all of it is one write or none.

A retry with the same request id gets the first answer again, without the encoder being asked. A call without a request
id gets one here: when nobody can say whether its write holds, the error has the id that settles it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from gallery_svc.collections import DEFAULT_COLLECTION, Collections
from gallery_svc.gate import Judgement, judge_sample
from gallery_svc.ids import time_ordered_id
from gallery_svc.live import LiveCollection
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import Deadline, Picture, Probe, ProbeReader, Sample
from gallery_svc.replica import Replica
from gallery_svc.rows import half
from gallery_svc.store import codec
from gallery_svc.store.protocol import Store, shard_of
from gallery_svc.store.records import (
    AuditRecord,
    CollectionRecord,
    Enrolled,
    Enrollment,
    NewTemplate,
    RequestKey,
    SubjectProfile,
    TemplateRecord,
)
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.client.encoder import Priority
from tessera.domain.embedding import Embedding
from tessera.domain.errors import (
    ImageRejectedError,
    InvalidInputError,
    ModelMismatchError,
    NotFoundError,
    SamplesRejectedError,
    TesseraError,
)
from tessera.domain.ids import CollectionId, RequestId, SubjectId, TemplateId
from tessera.domain.observation import Box, Quality
from tessera.domain.reasons import Reason

MAX_SAMPLES = 16


@dataclass(frozen=True, slots=True, eq=False)
class EnrolmentRequest:
    """What a caller wants enrolled."""

    collection_id: CollectionId
    subject_id: SubjectId | None
    """None: the gallery makes one."""
    samples: tuple[Probe, ...]
    """1 to 16 of one person."""
    profile: SubjectProfile
    request_id: RequestId | None
    require_all: bool
    """Every sample must be accepted."""
    caller: str = ""


@dataclass(frozen=True, slots=True)
class SampleOutcome:
    """What became of one sample."""

    reasons: tuple[Reason, ...]
    """Why it was not accepted; empty: it was."""
    detail: str
    template_id: TemplateId | None
    quality: Quality | None
    box: Box | None


@dataclass(frozen=True, slots=True)
class SampleOutcomes:
    """What became of each sample, in order; kept with the request id."""

    samples: tuple[SampleOutcome, ...]


@dataclass(frozen=True, slots=True)
class EnrolmentAnswer:
    """What was written, now or the first time."""

    enrolled: Enrolled
    outcomes: tuple[SampleOutcome, ...]


class Enroller:
    """Enrols subjects.

    Args:
        store: where they are kept.
        replica: what must see them at once.
        collections: makes the default collection when it is missing.
        probes: makes samples.
        clock: for the times of records.
        metrics: where it counts.
    """

    def __init__(
        self,
        *,
        store: Store,
        replica: Replica,
        collections: Collections,
        probes: ProbeReader,
        clock: Clock,
        metrics: GalleryMetrics,
    ) -> None:
        self._store = store
        self._replica = replica
        self._collections = collections
        self._probes = probes
        self._clock = clock
        self._metrics = metrics

    async def enroll(self, request: EnrolmentRequest, deadline: Deadline) -> EnrolmentAnswer:
        """Add templates to a subject, and the subject itself when it is new.

        Raises:
            NotFoundError: the collection does not exist.
            InvalidInputError: no samples, or too many.
            SamplesRejectedError: no sample can be used, or not each, where each must be.
            ModelMismatchError: an embedding is of another model than the collection.
            RequestIdReusedError: the request id came before with other content.
        """
        if not 1 <= len(request.samples) <= MAX_SAMPLES:
            raise InvalidInputError("samples", f"{len(request.samples)} samples", f"1 to {MAX_SAMPLES}")
        live = await self._collection(request.collection_id)
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
            return await self._judge_and_write(request, key, live.record, deadline)
        except ModelMismatchError:
            # Another encoder may just have become the collection's: pictures can be embedded by that one.
            newer = await self._replica.catch_up(request.collection_id)
            if newer.record.model_id == live.record.model_id:
                raise
            return await self._judge_and_write(request, key, newer.record, deadline)

    async def _judge_and_write(
        self, request: EnrolmentRequest, key: RequestKey, record: CollectionRecord, deadline: Deadline
    ) -> Enrolled:
        judged = await self._judge_all(request, record, deadline)
        now = self._clock.now()
        templates, outcomes = _templates(judged, request.samples, now, keep_pictures=record.keep_source_images)
        self._count_samples(outcomes)
        self._require_usable(outcomes, request.require_all)
        return await self._store.enroll(self._enrollment(request, key, record, templates, outcomes))

    def _key(self, request: EnrolmentRequest) -> RequestKey:
        made = RequestId(time_ordered_id("request", self._clock.now()))
        return RequestKey(request.request_id or made, _digest(request))

    async def _collection(self, collection_id: CollectionId) -> LiveCollection:
        try:
            return await self._replica.collection(collection_id)
        except NotFoundError:
            if collection_id != DEFAULT_COLLECTION:
                raise
            await self._collections.ensure_default()
            return await self._replica.collection(collection_id)

    async def _judge_all(
        self, request: EnrolmentRequest, record: CollectionRecord, deadline: Deadline
    ) -> list[tuple[Sample | None, Judgement]]:
        return await asyncio.gather(
            *(self._judge(probe, f"samples[{at}]", record, deadline) for at, probe in enumerate(request.samples))
        )

    async def _judge(
        self, probe: Probe, field: str, record: CollectionRecord, deadline: Deadline
    ) -> tuple[Sample | None, Judgement]:
        try:
            seen = await self._probes.read(
                probe, record.model_id, record.modality, priority=Priority.ENROLMENT, deadline=deadline, field=field
            )
        except ImageRejectedError as error:
            return None, Judgement((error.reason,), error.detail)
        return judge_sample(seen, record.gate)

    def _enrollment(
        self,
        request: EnrolmentRequest,
        key: RequestKey,
        record: CollectionRecord,
        templates: tuple[NewTemplate, ...],
        outcomes: tuple[SampleOutcome, ...],
    ) -> Enrollment:
        now = self._clock.now()
        subject_id = request.subject_id or _made_subject_id(now, key.request_id, record.shards)
        audit = AuditRecord(
            method="EnrollSubject",
            at=now,
            evidence_id=time_ordered_id("ev", now),
            caller=request.caller,
            collection_id=request.collection_id,
            subject_id=subject_id,
            request_id=key.request_id,
        )
        note = codec.dump(SampleOutcomes(outcomes))
        return Enrollment(request.collection_id, subject_id, request.profile, templates, now, audit, key, note)

    def _answer(self, enrolled: Enrolled) -> EnrolmentAnswer:
        outcomes = codec.load(SampleOutcomes, enrolled.note, "note").samples
        self._metrics.enrolments.labels("replayed" if enrolled.replayed else "enrolled").inc()
        if enrolled.replayed:
            self._metrics.replays.labels("EnrollSubject").inc()
        get_logger().info(
            "subject.enrolled",
            collection=enrolled.subject.collection_id,
            templates=sum(not outcome.reasons for outcome in outcomes),
            replayed=enrolled.replayed,
        )
        return EnrolmentAnswer(enrolled, outcomes)

    def _count_samples(self, outcomes: tuple[SampleOutcome, ...]) -> None:
        for outcome in outcomes:
            self._metrics.samples.labels(outcome.reasons[0].value if outcome.reasons else "ACCEPTED").inc()

    def _require_usable(self, outcomes: tuple[SampleOutcome, ...], require_all: bool) -> None:
        rejected = [outcome for outcome in outcomes if outcome.reasons]
        if len(rejected) == len(outcomes) or (rejected and require_all):
            self._metrics.enrolments.labels("rejected").inc()
            raise SamplesRejectedError(tuple(outcome.reasons for outcome in outcomes), rejected[0].detail)


def _templates(
    judged: list[tuple[Sample | None, Judgement]], probes: tuple[Probe, ...], now: datetime, *, keep_pictures: bool
) -> tuple[tuple[NewTemplate, ...], tuple[SampleOutcome, ...]]:
    templates: list[NewTemplate] = []
    outcomes: list[SampleOutcome] = []
    for (sample, judgement), probe in zip(judged, probes, strict=True):
        quality, box = (sample.quality, sample.box) if sample is not None else (None, None)
        outcome = SampleOutcome(judgement.reasons, judgement.detail, None, quality, box)
        if sample is not None and not judgement.reasons:
            record = TemplateRecord(
                template_id=TemplateId(time_ordered_id("template", now)),
                model_id=sample.embedding.model_id,
                created_at=now,
                quality=quality,
                source_sha256=hashlib.sha256(probe.data).hexdigest() if isinstance(probe, Picture) else "",
            )
            picture = probe.data if keep_pictures and isinstance(probe, Picture) else None
            templates.append(NewTemplate(record, half(sample.embedding.vector), picture))
            outcome = replace(outcome, template_id=record.template_id)
        outcomes.append(outcome)
    return tuple(templates), tuple(outcomes)


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
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _sample_digest(probe: Probe) -> str:
    if isinstance(probe, Embedding):
        return hashlib.sha256(probe.model_id.encode() + probe.vector.astype("<f4").tobytes()).hexdigest()
    return hashlib.sha256(probe.data).hexdigest()
