"""The three questions: is it the one who is enrolled (Verify), who is it (Identify), are two the same (Compare).

Each goes the same way: threshold, probe, search, judgement, record. The threshold comes first, so that a rate that
cannot be kept costs no encoder time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from gallery_svc.claiming import Claims, VerifyQuestion
from gallery_svc.coverage import SearchCoverage
from gallery_svc.gallery_size import size_of
from gallery_svc.index.protocol import Hit, Wanted
from gallery_svc.judging import comparison_threshold, judge_comparison, judge_search, search_threshold, valid_at
from gallery_svc.live import LiveCollection
from gallery_svc.own_part import Asked
from gallery_svc.probes import Deadline, Probe, ProbeReader, Sample, Seen
from gallery_svc.recording import Attempt, Recorded, Recorder
from gallery_svc.replica import Replica
from gallery_svc.scatter import Gathered, Scatter
from gallery_svc.store.collection_records import ShardPosition
from gallery_svc.thresholds import Thresholds
from gallery_svc.verify_failures import VerifyFailures
from tessera.chassis.clock import Clock
from tessera.client.encoder import Priority
from tessera.client.stream_values import StageTimes
from tessera.domain.calibration import Impostors, Threshold
from tessera.domain.decision import Decision, Outcome, inconclusive
from tessera.domain.embedding import Embedding, Modality, cosine_score
from tessera.domain.errors import ModelMismatchError
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId
from tessera.domain.not_one import NOT_ONE
from tessera.domain.reasons import Reason

# ---- the questions


@dataclass(frozen=True, slots=True, eq=False)
class IdentifyQuestion:
    """Who is this, if anybody?"""

    collection_id: CollectionId
    probe: Probe
    target_fpir: float | None
    """None: the collection's policy."""
    max_candidates: int
    max_faces: int
    all_candidates: bool
    """Also those below the threshold."""
    min_positions: tuple[ShardPosition, ...] = ()
    """Answer only from a state that includes them."""
    labels: frozenset[str] = frozenset()
    """Only subjects with all of these."""
    camera_id: str = ""
    """That asks; empty: no camera does."""
    include_not_valid: bool = False
    """Find subjects outside of their validity too."""
    allow_partial: bool = False
    """Where a part of the gallery is away, an answer from the others is welcome."""


@dataclass(frozen=True, slots=True, eq=False)
class CompareQuestion:
    """Are these two the same person?"""

    first: Probe
    second: Probe
    target_fmr: float | None
    """None: the default of these impostors."""
    modality: Modality
    impostors: Impostors
    """Whose false matches the rate counts."""


# ---- the answers


@dataclass(frozen=True, slots=True)
class MatchTimes:
    """Where the time went, in milliseconds of wall time."""

    encoder: StageTimes | None
    encode_ms: float
    compare_ms: float
    store_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """The answer to a claim."""

    recorded: Recorded
    subject_id: SubjectId
    template_id: TemplateId | None
    """The one that scored highest."""
    sample: Sample | None
    times: MatchTimes
    coverage: SearchCoverage
    position: int


@dataclass(frozen=True, slots=True)
class FoundSubject:
    """One subject that a search found."""

    hit: Hit
    above_threshold: bool


@dataclass(frozen=True, slots=True, eq=False)
class Identification:
    """The answer for one face."""

    recorded: Recorded
    candidates: tuple[FoundSubject, ...]
    sample: Sample | None


@dataclass(frozen=True, slots=True, eq=False)
class Identifications:
    """The answers for one probe, largest face first."""

    faces: tuple[Identification, ...]
    positions: tuple[int, ...]
    """Of each shard, of the state that answered."""
    coverage: SearchCoverage


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """The answer about two probes."""

    recorded: Recorded
    first: Sample | None
    second: Sample | None


class Matcher:
    """Answers the three questions.

    Args:
        replica: the collections and their indexes.
        claims: find and compare whom a verification is about.
        probes: makes samples.
        thresholds: the error rates.
        scatter: searches what is held here, and asks who holds the rest.
        recorder: puts answers on record.
        failures: tells of claims that fail.
        clock: for who is valid now.
    """

    def __init__(
        self,
        *,
        replica: Replica,
        claims: Claims,
        probes: ProbeReader,
        thresholds: Thresholds,
        scatter: Scatter,
        recorder: Recorder,
        failures: VerifyFailures,
        clock: Clock,
    ) -> None:
        self._replica = replica
        self._claims = claims
        self._probes = probes
        self._thresholds = thresholds
        self._scatter = scatter
        self._recorder = recorder
        self._failures = failures
        self._clock = clock

    async def verify(self, question: VerifyQuestion, attempt: Attempt, deadline: Deadline) -> Verification:
        """Answer a claim.

        Raises:
            NotFoundError: the collection or the subject does not exist.
            ModelMismatchError: the probe is of another model than the collection.
            NoCalibrationError: the collection's model has no calibration.
            CalibrationTooSmallError: the rate that was asked for cannot be kept.
            GalleryIncompleteError: the subject is held by another gallery, which does not answer.
        """
        started_s = time.perf_counter()
        live = await self._claims.live_with(question, deadline)
        threshold = self._claimed(question, live, 1)
        store_ms = _since_ms(started_s)
        seen = await self._read(question.probe, live, deadline, max_faces=2)

        compared_s = time.perf_counter()
        sample, reason = seen.only()
        compared = await self._claims.compared(question, live, sample, deadline)
        hit = compared.hit
        if hit is not None and hit.compared > 1:  # the rate is that of the whole claim, however many templates it met
            threshold = self._claimed(question, live, hit.compared)
        decision = _verified(threshold, sample, reason or compared.why_not, hit, live.record.model_id)
        compare_ms = _since_ms(compared_s)

        recorded_s = time.perf_counter()
        recorded = await self._recorder.record(attempt, decision, question.subject_id, hit.template_id if hit else None)
        await self._failures.note(recorded, question.collection_id, question.subject_id, question.camera_id)
        store_ms += _since_ms(recorded_s)
        times = MatchTimes(seen.stage_times, seen.encode_ms, compare_ms, store_ms, _since_ms(started_s))
        template_id = hit.template_id if hit else None
        return Verification(
            recorded, question.subject_id, template_id, sample, times, compared.coverage, compared.position
        )

    async def identify(self, question: IdentifyQuestion, attempt: Attempt, deadline: Deadline) -> Identifications:
        """Search for each face of a probe.

        Raises:
            NotFoundError: the collection does not exist.
            ModelMismatchError: the probe is of another model than the collection.
            NoCalibrationError: the collection's model has no calibration.
            CalibrationTooSmallError: the rate that was asked for cannot be kept.
            GalleryIncompleteError: a part of the gallery does not answer, and the question does not allow for that.
        """
        live = await self._replica.at_positions(question.collection_id, question.min_positions, deadline)
        try:
            return await self._identify(question, attempt, live, deadline)
        except ModelMismatchError:
            if live.is_whole:
                raise
            # The parts of a gallery do not take to another encoder at one moment: once more, as the store has it now.
            live = await self._replica.catch_up(question.collection_id)
            return await self._identify(question, attempt, live, deadline)

    async def compare(self, question: CompareQuestion, attempt: Attempt, deadline: Deadline) -> Comparison:
        """Compare two probes; keeps nothing but the record that it was asked.

        Raises:
            ModelMismatchError: two embeddings of different models.
            NoCalibrationError: their model has no calibration.
            CalibrationTooSmallError: the rate cannot be kept.
        """
        model_id = self._model_for(question)
        impostors = question.impostors
        target_fmr = impostors.default_target_fmr if question.target_fmr is None else question.target_fmr
        threshold = self._thresholds.for_comparison(model_id, target_fmr, impostors=impostors)
        named = (("first", question.first), ("second", question.second))
        sides = await asyncio.gather(
            *(
                self._probes.read(
                    probe, model_id, question.modality, priority=Priority.INTERACTIVE, deadline=deadline, field=name
                )
                for name, probe in named
            )
        )
        (first, why_first), (second, why_second) = (side.only() for side in sides)
        if first is None or second is None:
            why = tuple(dict.fromkeys(reason for reason in (why_first, why_second) if reason is not None))
            decision = inconclusive(*why, model_id=model_id, threshold=threshold)
        else:
            weak = tuple(dict.fromkeys((*first.reasons, *second.reasons)))
            decision = judge_comparison(cosine_score(first.embedding, second.embedding), threshold, weak)
        return Comparison(await self._recorder.record(attempt, decision), first, second)

    # ---- inside

    def _claimed(self, question: VerifyQuestion, live: LiveCollection, templates: int) -> Threshold | Decision:
        """The threshold of a claim that is compared with so many templates."""
        return comparison_threshold(
            self._thresholds,
            live.record,
            question.target_fmr,
            camera_id=question.camera_id,
            templates=templates,
        )

    async def _read(self, probe: Probe, live: LiveCollection, deadline: Deadline, max_faces: int) -> Seen:
        return await self._probes.read(
            probe,
            live.record.model_id,
            live.record.modality,
            priority=Priority.INTERACTIVE,
            deadline=deadline,
            max_faces=max_faces,
        )

    async def _identify(
        self, question: IdentifyQuestion, attempt: Attempt, live: LiveCollection, deadline: Deadline
    ) -> Identifications:
        threshold = search_threshold(
            self._thresholds, live.record, size_of(live), question.target_fpir, camera_id=question.camera_id
        )
        seen = await self._read(question.probe, live, deadline, question.max_faces)
        if not seen.samples or isinstance(threshold, Decision):
            nobody = inconclusive(NOT_ONE[live.record.modality].none, model_id=live.record.model_id)
            decision = threshold if seen.samples and isinstance(threshold, Decision) else nobody
            positions, coverage = live.wire_positions, self._claims.coverage(live)
            unsearched = (self._unsearched(attempt, decision, sample) for sample in seen.samples or (None,))
            return Identifications(tuple(await asyncio.gather(*unsearched)), positions, coverage)
        found = await self._found(question, live, seen, deadline)
        weak = () if found.coverage.complete else (Reason.PARTIAL_GALLERY,)
        faces = [
            self._identified(question, attempt, threshold, hits, (sample, (*sample.reasons, *weak)))
            for sample, hits in zip(seen.samples, found.hits, strict=True)
        ]
        return Identifications(await _all(faces), found.positions, found.coverage)

    async def _found(
        self, question: IdentifyQuestion, live: LiveCollection, seen: Seen, deadline: Deadline
    ) -> Gathered:
        at = None if question.include_not_valid else valid_at(self._clock)
        asked = Asked(
            tuple(sample.embedding for sample in seen.samples),
            question.max_candidates,
            Wanted(question.labels, question.camera_id, at),
            question.min_positions,
        )
        return await self._scatter.search(live, asked, deadline, allow_partial=question.allow_partial)

    async def _unsearched(self, attempt: Attempt, decision: Decision, sample: Sample | None) -> Identification:
        return Identification(await self._recorder.record(attempt, decision), (), sample)

    async def _identified(
        self,
        question: IdentifyQuestion,
        attempt: Attempt,
        threshold: Threshold,
        hits: Sequence[Hit],
        probe: tuple[Sample, Sequence[Reason]],
    ) -> Identification:
        """The answer for one face, with what is weak about its probe or its search."""
        sample, weak = probe
        decision = judge_search(hits, threshold, weak)
        found = (FoundSubject(hit, hit.score >= threshold.score) for hit in hits)
        candidates = tuple(one for one in found if one.above_threshold or question.all_candidates)
        matched = hits[0].subject_id if decision.outcome is Outcome.MATCH else None
        template_id = hits[0].template_id if hits else None
        return Identification(await self._recorder.record(attempt, decision, matched, template_id), candidates, sample)

    def _model_for(self, question: CompareQuestion) -> ModelId:
        for probe in (question.first, question.second):
            if isinstance(probe, Embedding):
                return probe.model_id
        return self._thresholds.default_model(question.modality)


def _verified(
    threshold: Threshold | Decision, sample: Sample | None, reason: Reason | None, hit: Hit | None, model_id: ModelId
) -> Decision:
    if isinstance(threshold, Decision):
        return threshold
    if sample is None or reason is not None:
        return inconclusive(reason or Reason.NO_FACE, model_id=model_id, threshold=threshold)
    if hit is None:
        return inconclusive(Reason.NO_TEMPLATE, model_id=model_id, threshold=threshold)
    return judge_comparison(hit.score, threshold, sample.reasons)


async def _all(faces: Sequence[Coroutine[Any, Any, Identification]]) -> tuple[Identification, ...]:
    """The answers for all faces; that for a single one, as most probes have it, without a task of its own."""
    return (await faces[0],) if len(faces) == 1 else tuple(await asyncio.gather(*faces))


def _since_ms(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000
