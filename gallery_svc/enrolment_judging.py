"""Whether samples may be enrolled, and where they go: each is judged, and then all of them together.

A sample is good enough when its quality is, when it looks like the subject's others, and when it is nobody else's: the
collection says what follows where it is not (`integrity` looks, this module decides). Nothing is written here, and what
there is to count is handed on: whether it was an enrolment or only a look, this module does not know.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime

from gallery_svc.enrolment_values import EnrolmentRequest, SampleOutcome
from gallery_svc.gate import HINTS, Judgement, judge_sample
from gallery_svc.ids import time_ordered_id
from gallery_svc.integrity import DuplicateFound, IntegrityChecks, Newcomer
from gallery_svc.keeping_apart import KeepingApart, joined
from gallery_svc.live import LiveCollection
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import Deadline, Picture, Probe, ProbeReader, Sample
from gallery_svc.rows import half
from gallery_svc.store.collection_records import CollectionRecord, DuplicatePolicy, OutlierPolicy
from gallery_svc.store.protocol import Store
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, TemplateRecord
from tessera.chassis.clock import Clock
from tessera.client.encoder import Priority
from tessera.domain.errors import (
    DuplicateSubjectError,
    ImageRejectedError,
    OverloadedError,
    SamplesRejectedError,
    UnavailableError,
)
from tessera.domain.ids import SubjectId, TemplateId
from tessera.domain.reasons import Reason


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """One sample and what was found."""

    sample: Sample | None
    judgement: Judgement
    reported: tuple[Reason, ...] = ()
    """Told, and no reason to leave it out."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where samples go."""

    subject_id: SubjectId | None
    profile: SubjectProfile
    duplicates: tuple[DuplicateFound, ...] = ()
    merged: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """What is to be written, and what is told of it."""

    templates: tuple[NewTemplate, ...]
    outcomes: tuple[SampleOutcome, ...]
    destination: Destination


@dataclass(slots=True)
class Tally:
    """What judging an enrolment has to count: told to the metrics when somebody enrolled, forgotten when he looked."""

    samples: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def tell(self, metrics: GalleryMetrics) -> None:
        """Count it."""
        for counter, labels in (
            (metrics.samples, self.samples),
            (metrics.duplicates, self.duplicates),
            (metrics.enrolments, self.refused),
        ):
            for label in labels:
                counter.labels(label).inc()


class EnrolmentJudge:
    """Judges what is to be enrolled; writes nothing.

    Args:
        store: knows who is enrolled.
        probes: makes samples.
        checks: looks for outliers and duplicates.
        apart: knows who is kept apart.
        clock: for the times of records.
    """

    def __init__(
        self, *, store: Store, probes: ProbeReader, checks: IntegrityChecks, apart: KeepingApart, clock: Clock
    ) -> None:
        self._store = store
        self._probes = probes
        self._checks = checks
        self._apart = apart
        self._clock = clock

    async def judge(self, request: EnrolmentRequest, live: LiveCollection, deadline: Deadline, tally: Tally) -> Taken:
        """Judge all samples of an enrolment.

        Args:
            request: what is to be enrolled.
            live: the collection.
            deadline: until when the answer is wanted.
            tally: gets what there is to count, also where this raises.

        Raises:
            SamplesRejectedError: no sample can be used, or not each, where each must be.
            DuplicateSubjectError: the samples already are another subject's, and that is refused.
            ModelMismatchError: an embedding is of another model than the collection.
        """
        record = live.record
        judged = await self._judge_all(request, record, deadline)
        judged = await self._without_outliers(request, record, judged)
        now = self._clock.now()
        templates, outcomes = _templates(judged, request.samples, now, keep_pictures=record.keep_source_images)
        tally.samples += ["ACCEPTED" if one.template_id is not None else one.reasons[0].value for one in outcomes]
        _require_usable(outcomes, request.require_all, tally)
        usable = [one.sample for one in judged if one.sample is not None and not one.judgement.reasons]
        destination = await self._destination(request, live, usable, deadline, tally)
        return Taken(templates, outcomes, destination)

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
        tally: Tally,
    ) -> Destination:
        """Where the samples go, by what is to happen to samples that already are another subject's."""
        plain = Destination(request.subject_id, request.profile)
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
                return Destination(others[0], SubjectProfile(), found, merged=True)
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


def _require_usable(outcomes: tuple[SampleOutcome, ...], require_all: bool, tally: Tally) -> None:
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
