"""The three questions: is it the one who is enrolled (Verify), who is it (Identify), are two the same (Compare).

Each goes the same way: threshold, probe, search, judgement, record. The threshold comes first, so that a rate that
cannot be kept costs no encoder time.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from gallery_svc.index.protocol import Hit, Wanted
from gallery_svc.judging import comparison_threshold, judge_comparison, judge_search, search_threshold, valid_at
from gallery_svc.live import LiveCollection
from gallery_svc.probes import Deadline, Probe, ProbeReader, Sample, Seen
from gallery_svc.recording import Attempt, Recorded, Recorder
from gallery_svc.replica import Replica
from gallery_svc.searching import Searcher
from gallery_svc.store.protocol import Store, shard_of
from gallery_svc.store.records import ShardPosition
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.client.encoder import Priority
from tessera.client.stream_values import StageTimes
from tessera.domain.calibration import DEFAULT_TARGET_FMR, Threshold
from tessera.domain.decision import Decision, Outcome, inconclusive
from tessera.domain.embedding import Embedding, Modality, cosine_score
from tessera.domain.errors import NotFoundError
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId
from tessera.domain.reasons import Reason

# ---- the questions


@dataclass(frozen=True, slots=True, eq=False)
class VerifyQuestion:
    """Is this the person who is enrolled as `subject_id`?"""

    collection_id: CollectionId
    subject_id: SubjectId
    probe: Probe
    target_fmr: float | None
    """None: the collection's policy."""
    min_positions: tuple[ShardPosition, ...] = ()
    """Answer only from a state that includes them."""
    camera_id: str = ""
    """That asks; empty: no camera does."""


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


@dataclass(frozen=True, slots=True, eq=False)
class CompareQuestion:
    """Are these two the same person?"""

    first: Probe
    second: Probe
    target_fmr: float | None
    modality: Modality


# ---- the answers


@dataclass(frozen=True, slots=True)
class SearchCoverage:
    """What an answer rests on."""

    shards_total: int
    shards_searched: int
    exact: bool
    """Every subject that was asked for was compared."""
    vectors_in_clear: bool
    """The index keeps them unencrypted outside of this process."""
    behind_changes: int
    """That the store had and the index had not, as far as is known."""
    behind_s: float
    """Since the index last had all of them; 0: it has."""
    subjects_searched: int

    @property
    def complete(self) -> bool:
        """Nothing that should have been searched was left out."""
        return self.shards_searched == self.shards_total


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


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """What the searches for the faces of one picture share."""

    live: LiveCollection
    threshold: Threshold | Decision
    wanted: Wanted
    deadline: Deadline


class Matcher:
    """Answers the three questions.

    Args:
        replica: the collections and their indexes.
        store: asked for subjects that no index holds.
        probes: makes samples.
        thresholds: the error rates.
        searcher: searches indexes off the event loop where that pays.
        recorder: puts answers on record.
        clock: for who is valid now.
    """

    def __init__(
        self,
        *,
        replica: Replica,
        store: Store,
        probes: ProbeReader,
        thresholds: Thresholds,
        searcher: Searcher,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._replica = replica
        self._store = store
        self._probes = probes
        self._thresholds = thresholds
        self._searcher = searcher
        self._recorder = recorder
        self._clock = clock

    async def verify(self, question: VerifyQuestion, attempt: Attempt, deadline: Deadline) -> Verification:
        """Answer a claim.

        Raises:
            NotFoundError: the collection or the subject does not exist.
            ModelMismatchError: the probe is of another model than the collection.
            NoCalibrationError: the collection's model has no calibration.
            CalibrationTooSmallError: the rate that was asked for cannot be kept.
        """
        started_s = time.perf_counter()
        live = await self._live_with(question, deadline)
        coverage, position = (
            self._coverage(live),
            live.wire_positions[shard_of(question.subject_id, len(live.positions))],
        )
        threshold = comparison_threshold(self._thresholds, live.record, question.target_fmr)
        store_ms = _since_ms(started_s)
        seen = await self._read(question.probe, live, deadline, max_faces=2)

        compared_s = time.perf_counter()
        sample, reason = seen.only()
        hit, why_not = self._compared(question, live, sample)
        decision = _verified(threshold, sample, reason or why_not, hit, live.record.model_id)
        compare_ms = _since_ms(compared_s)

        recorded_s = time.perf_counter()
        recorded = await self._recorder.record(attempt, decision, question.subject_id)
        store_ms += _since_ms(recorded_s)
        times = MatchTimes(seen.stage_times, seen.encode_ms, compare_ms, store_ms, _since_ms(started_s))
        template_id = hit.template_id if hit else None
        return Verification(recorded, question.subject_id, template_id, sample, times, coverage, position)

    async def identify(self, question: IdentifyQuestion, attempt: Attempt, deadline: Deadline) -> Identifications:
        """Search for each face of a probe.

        Raises:
            NotFoundError: the collection does not exist.
            ModelMismatchError: the probe is of another model than the collection.
            NoCalibrationError: the collection's model has no calibration.
            CalibrationTooSmallError: the rate that was asked for cannot be kept.
        """
        live = await self._replica.at_positions(question.collection_id, question.min_positions, deadline)
        # What the index held before the search: it may hold more by its end.
        positions, coverage = live.wire_positions, self._coverage(live)
        threshold = search_threshold(self._thresholds, live.record, live.index.subject_count, question.target_fpir)
        seen = await self._read(question.probe, live, deadline, question.max_faces)
        if not seen.samples:
            nobody = inconclusive(Reason.NO_FACE, model_id=live.record.model_id)
            one = Identification(await self._recorder.record(attempt, nobody), (), None)
            return Identifications((one,), positions, coverage)
        at = None if question.include_not_valid else valid_at(self._clock)
        wanted = Wanted(question.labels, question.camera_id, at)
        search = _Search(live, threshold, wanted, deadline)
        faces = await asyncio.gather(*(self._identify(question, attempt, search, sample) for sample in seen.samples))
        return Identifications(tuple(faces), positions, coverage)

    async def compare(self, question: CompareQuestion, attempt: Attempt, deadline: Deadline) -> Comparison:
        """Compare two probes; keeps nothing but the record that it was asked.

        Raises:
            ModelMismatchError: two embeddings of different models.
            NoCalibrationError: their model has no calibration.
            CalibrationTooSmallError: the rate cannot be kept.
        """
        model_id = self._model_for(question)
        target_fmr = DEFAULT_TARGET_FMR if question.target_fmr is None else question.target_fmr
        threshold = self._thresholds.for_comparison(model_id, target_fmr)
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

    async def _live_with(self, question: VerifyQuestion, deadline: Deadline) -> LiveCollection:
        live = await self._replica.at_positions(question.collection_id, question.min_positions, deadline)
        if question.subject_id in live.index:
            return live
        # Another gallery may just have enrolled the subject.
        live = await self._replica.catch_up(question.collection_id)
        if question.subject_id not in live.index:
            known = await self._store.find_subject(question.collection_id, question.subject_id)
            if known is None:
                raise NotFoundError("subject", question.subject_id)
        return live

    def _compared(
        self, question: VerifyQuestion, live: LiveCollection, sample: Sample | None
    ) -> tuple[Hit | None, Reason | None]:
        """The subject's best template, or why there is none that counts."""
        if sample is None:
            return None, None
        subject_id, camera_id = question.subject_id, question.camera_id
        hit = live.index.best_of(subject_id, sample.embedding, Wanted(camera_id=camera_id, at=self._clock.now()))
        if hit is not None or subject_id not in live.index:
            return hit, None
        if live.index.best_of(subject_id, sample.embedding, Wanted(camera_id=camera_id)) is None:
            raise NotFoundError("subject", subject_id)  # for this camera it is not there
        return None, Reason.NOT_VALID_NOW

    def _coverage(self, live: LiveCollection) -> SearchCoverage:
        behind, index, shards = (
            self._replica.behind(live.record.collection_id),
            live.index.coverage,
            len(live.positions),
        )
        return SearchCoverage(
            shards_total=shards,
            shards_searched=shards,
            exact=index.exact,
            vectors_in_clear=index.vectors_in_clear,
            behind_changes=behind.changes,
            behind_s=behind.seconds,
            subjects_searched=live.index.subject_count,
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
        self,
        question: IdentifyQuestion,
        attempt: Attempt,
        search: _Search,
        sample: Sample,
    ) -> Identification:
        threshold = search.threshold
        if isinstance(threshold, Decision):
            return Identification(await self._recorder.record(attempt, threshold), (), sample)
        hits = await self._searcher.search(
            search.live.index,
            sample.embedding,
            question.max_candidates,
            search.wanted,
            search.deadline.at_s,
        )
        decision = judge_search(hits, threshold, sample.reasons)
        found = (FoundSubject(hit, hit.score >= threshold.score) for hit in hits)
        candidates = tuple(one for one in found if one.above_threshold or question.all_candidates)
        matched = hits[0].subject_id if decision.outcome is Outcome.MATCH else None
        return Identification(await self._recorder.record(attempt, decision, matched), candidates, sample)

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


def _since_ms(started_s: float) -> float:
    return (time.perf_counter() - started_s) * 1000
