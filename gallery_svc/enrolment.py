"""Enrolment: each sample is judged, those that are good enough become templates, and all of it is one write or none.

A sample is good enough when its quality is, when it looks like the subject's others, and when it is nobody else's: the
collection says what follows where it is not (`integrity` looks, this module decides).

A retry with the same request id gets the first answer again, without the encoder being asked. A call without a request
id gets one here: when nobody can say whether its write holds, the error has the id that settles it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime

from gallery_svc.collections import DEFAULT_COLLECTION, Collections
from gallery_svc.gate import HINTS, Judgement, judge_sample
from gallery_svc.ids import time_ordered_id
from gallery_svc.integrity import DuplicateFound, IntegrityChecks, Newcomer
from gallery_svc.keeping_apart import KeepingApart, joined
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
    DuplicatePolicy,
    Enrolled,
    Enrollment,
    NewTemplate,
    OutlierPolicy,
    RequestKey,
    SubjectProfile,
    TemplateRecord,
)
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.client.encoder import Priority
from tessera.domain.embedding import Embedding
from tessera.domain.errors import (
    DuplicateSubjectError,
    ImageRejectedError,
    InvalidInputError,
    ModelMismatchError,
    NotFoundError,
    OverloadedError,
    SamplesRejectedError,
    TesseraError,
    UnavailableError,
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
    duplicate_policy: DuplicatePolicy | None = None
    """None: the collection's."""
    outlier_policy: OutlierPolicy | None = None
    """None: the collection's."""


@dataclass(frozen=True, slots=True)
class SampleOutcome:
    """What became of one sample."""

    reasons: tuple[Reason, ...]
    """Why it was not accepted; of one that was, what is told of it all the same."""
    detail: str
    template_id: TemplateId | None
    """None: it was not accepted."""
    quality: Quality | None
    box: Box | None


@dataclass(frozen=True, slots=True)
class SampleOutcomes:
    """What became of each sample, in order, and whom they look like; kept with the request id."""

    samples: tuple[SampleOutcome, ...]
    duplicates: tuple[DuplicateFound, ...] = ()
    merged: bool = False
    """The samples went to the subject that they already were."""


@dataclass(frozen=True, slots=True)
class EnrolmentAnswer:
    """What was written, now or the first time."""

    enrolled: Enrolled
    outcomes: tuple[SampleOutcome, ...]
    duplicates: tuple[DuplicateFound, ...] = ()
    merged: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """One sample and what was found."""

    sample: Sample | None
    judgement: Judgement
    reported: tuple[Reason, ...] = ()
    """Told, and no reason to leave it out."""


@dataclass(frozen=True, slots=True, eq=False)
class _Taken:
    """What is to be written, and what is told of it."""

    templates: tuple[NewTemplate, ...]
    outcomes: tuple[SampleOutcome, ...]
    destination: _Destination


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where samples go."""

    subject_id: SubjectId | None
    profile: SubjectProfile
    duplicates: tuple[DuplicateFound, ...] = ()
    merged: bool = False


@dataclass(slots=True)
class _Tally:
    """What judging an enrolment has to count: told to the metrics when somebody enrolled, forgotten when he looked."""

    samples: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def tell(self, metrics: GalleryMetrics) -> None:
        for counter, labels in (
            (metrics.samples, self.samples),
            (metrics.duplicates, self.duplicates),
            (metrics.enrolments, self.refused),
        ):
            for label in labels:
                counter.labels(label).inc()


class Enroller:
    """Enrols subjects.

    Args:
        store: where they are kept.
        replica: what must see them at once.
        collections: makes the default collection when it is missing.
        probes: makes samples.
        checks: looks for outliers and duplicates.
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
        probes: ProbeReader,
        checks: IntegrityChecks,
        apart: KeepingApart,
        clock: Clock,
        metrics: GalleryMetrics,
    ) -> None:
        self._store = store
        self._replica = replica
        self._collections = collections
        self._probes = probes
        self._checks = checks
        self._apart = apart
        self._clock = clock
        self._metrics = metrics

    async def enroll(self, request: EnrolmentRequest, deadline: Deadline) -> EnrolmentAnswer:
        """Add templates to a subject, and the subject itself when it is new.

        Raises:
            NotFoundError: the collection does not exist.
            InvalidInputError: no samples, or too many.
            SamplesRejectedError: no sample can be used, or not each, where each must be.
            DuplicateSubjectError: the samples already are another subject's, and that is refused.
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
        return (await self._judged_whole(request, live, deadline, _Tally())).outcomes

    async def _judge_and_write(
        self, request: EnrolmentRequest, key: RequestKey, live: LiveCollection, deadline: Deadline
    ) -> Enrolled:
        tally = _Tally()
        try:
            taken = await self._judged_whole(request, live, deadline, tally)
        finally:
            tally.tell(self._metrics)
        enrollment = self._enrollment(request, key, live.record, taken)
        collection_id, subject_id = enrollment.collection_id, enrollment.subject_id
        if not (others := enrollment.profile.distinct_from):
            return await self._store.enroll(enrollment)
        before = await self._apart.listed(collection_id, subject_id)
        async with self._apart.on_both(collection_id, subject_id, before, others, request.caller):
            return await self._store.enroll(enrollment)

    async def _judged_whole(
        self, request: EnrolmentRequest, live: LiveCollection, deadline: Deadline, tally: _Tally
    ) -> _Taken:
        record = live.record
        judged = await self._judge_all(request, record, deadline)
        judged = await self._without_outliers(request, record, judged)
        now = self._clock.now()
        templates, outcomes = _templates(judged, request.samples, now, keep_pictures=record.keep_source_images)
        tally.samples += ["ACCEPTED" if one.template_id is not None else one.reasons[0].value for one in outcomes]
        _require_usable(outcomes, request.require_all, tally)
        usable = [one.sample for one in judged if one.sample is not None and not one.judgement.reasons]
        destination = await self._destination(request, live, usable, deadline, tally)
        return _Taken(templates, outcomes, destination)

    async def _without_outliers(
        self, request: EnrolmentRequest, record: CollectionRecord, judged: list[_Judged]
    ) -> list[_Judged]:
        """What was judged, with what is said of samples that do not look like the subject's others."""
        policy = request.outlier_policy or record.outlier_policy
        good = [at for at, one in enumerate(judged) if one.sample is not None and not one.judgement.reasons]
        if policy is OutlierPolicy.IGNORE or not good:
            return judged
        samples = [sample for at in good if (sample := judged[at].sample) is not None]
        odd = await self._checks.outliers(record, request.subject_id, samples)
        told = list(judged)
        for at in (at for at, is_odd in zip(good, odd, strict=True) if is_odd):
            if policy is OutlierPolicy.REJECT:
                told[at] = replace(judged[at], judgement=Judgement((Reason.OUTLIER,), HINTS[Reason.OUTLIER]))
            else:
                told[at] = replace(judged[at], reported=(Reason.OUTLIER,))
        return told

    async def _destination(
        self,
        request: EnrolmentRequest,
        live: LiveCollection,
        samples: list[Sample],
        deadline: Deadline,
        tally: _Tally,
    ) -> _Destination:
        """Where the samples go, by what is to happen to samples that already are another subject's."""
        plain = _Destination(request.subject_id, request.profile)
        policy = request.duplicate_policy or live.record.duplicate_policy
        if policy is DuplicatePolicy.IGNORE:
            return plain
        newcomer = Newcomer(request.subject_id, frozenset(request.profile.distinct_from))
        only_told = policy is DuplicatePolicy.REPORT
        try:
            found = await self._checks.duplicates(live, newcomer, samples, deadline, allow_partial=only_told)
        except (UnavailableError, OverloadedError):
            if not only_told:
                raise
            # Who is only to be told of a duplicate is not kept waiting for a search that cannot be made now.
            tally.duplicates.append("not_checked")
            return plain
        if not found:
            return plain
        tally.duplicates.append(policy.value.lower())
        others = tuple(one.subject_id for one in found)
        match policy:
            case DuplicatePolicy.REPORT:
                return replace(plain, duplicates=found)
            case DuplicatePolicy.KEEP_APART:
                apart = await self._kept_apart(request, others)
                return replace(plain, profile=replace(request.profile, distinct_from=apart), duplicates=found)
            case DuplicatePolicy.MERGE if len(found) == 1 and await self._is_new(request):
                return _Destination(others[0], SubjectProfile(), found, merged=True)
            case _:
                tally.refused.append("duplicate")
                raise DuplicateSubjectError(others)

    async def _kept_apart(self, request: EnrolmentRequest, others: tuple[SubjectId, ...]) -> tuple[str, ...]:
        subject_id = request.subject_id
        listed = await self._apart.listed(request.collection_id, subject_id) if subject_id is not None else ()
        return joined(subject_id or "the new subject", (*listed, *request.profile.distinct_from), others)

    async def _is_new(self, request: EnrolmentRequest) -> bool:
        subject_id = request.subject_id
        return subject_id is None or await self._store.find_subject(request.collection_id, subject_id) is None

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
    ) -> list[_Judged]:
        return await asyncio.gather(
            *(self._judge(probe, f"samples[{at}]", record, deadline) for at, probe in enumerate(request.samples))
        )

    async def _judge(self, probe: Probe, field: str, record: CollectionRecord, deadline: Deadline) -> _Judged:
        try:
            seen = await self._probes.read(
                probe, record.model_id, record.modality, priority=Priority.ENROLMENT, deadline=deadline, field=field
            )
        except ImageRejectedError as error:
            return _Judged(None, Judgement((error.reason,), error.detail))
        return _Judged(*judge_sample(seen, record.gate))

    def _enrollment(
        self,
        request: EnrolmentRequest,
        key: RequestKey,
        record: CollectionRecord,
        taken: _Taken,
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


def _require_usable(outcomes: tuple[SampleOutcome, ...], require_all: bool, tally: _Tally) -> None:
    rejected = [outcome for outcome in outcomes if outcome.template_id is None]
    if len(rejected) == len(outcomes) or (rejected and require_all):
        tally.refused.append("rejected")
        reasons = tuple(outcome.reasons if outcome.template_id is None else () for outcome in outcomes)
        raise SamplesRejectedError(reasons, rejected[0].detail)


def _templates(
    judged: list[_Judged], probes: tuple[Probe, ...], now: datetime, *, keep_pictures: bool
) -> tuple[tuple[NewTemplate, ...], tuple[SampleOutcome, ...]]:
    templates: list[NewTemplate] = []
    outcomes: list[SampleOutcome] = []
    for one, probe in zip(judged, probes, strict=True):
        sample, judgement = one.sample, one.judgement
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
            hints = "; ".join(HINTS[reason] for reason in one.reported)
            outcome = replace(outcome, template_id=record.template_id, reasons=one.reported, detail=hints)
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
        "policies": [request.duplicate_policy, request.outlier_policy],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _sample_digest(probe: Probe) -> str:
    if isinstance(probe, Embedding):
        return hashlib.sha256(probe.model_id.encode() + probe.vector.astype("<f4").tobytes()).hexdigest()
    return hashlib.sha256(probe.data).hexdigest()
