"""The two looks at samples before they become templates: are they of one person, and is that person here already.

Whether two subjects are one person is asked of the mean of the samples and the mean of the templates: one score for a
subject, however many pictures there are, as in the searches that the calibration measured. It finds more than the best
template does, and lets no more through (docs/enrolment-checks.md). The search finds who comes into question.

Both thresholds are error rates of the collection's own calibration. They warn of mistakes of people and keep nobody
out: a check that the calibration cannot carry is left out and told in the log, and the enrolment goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gallery_svc.coverage import subjects_of
from gallery_svc.index.protocol import Hit, Wanted
from gallery_svc.live import LiveCollection
from gallery_svc.own_part import Asked
from gallery_svc.probes import Deadline, Sample
from gallery_svc.scatter import Scatter
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.protocol import Store
from gallery_svc.thresholds import Thresholds
from tessera.chassis.logs import get_logger
from tessera.domain.calibration import Threshold
from tessera.domain.consistency import mean_score, unlike_the_rest
from tessera.domain.embedding import Embedding, Vectors, fuse
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError, NoCalibrationError
from tessera.domain.ids import CollectionId, ModelId, SubjectId

OUTLIER_FMR = 1e-2
"""Somebody else's sample looks like a subject's others with about this probability."""
DUPLICATE_FPIR = 5e-3
"""A new person's samples look like somebody who is enrolled with about this probability."""
MAX_DUPLICATES = 5
CANDIDATES = 16
"""Subjects whose templates are looked at, those with the best single templates."""
CANDIDATE_SHARE = 0.7
"""The best template of somebody who comes into question reaches this share of the threshold: the mean of two templates
that are at all alike, or of many that are like each other by half, scores at most 1 / 0.7 times as much as the best."""
_LEAST_WEIGHT = 0.01


@dataclass(frozen=True, slots=True)
class DuplicateFound:
    """Another subject that the samples look like."""

    subject_id: SubjectId
    threshold: Threshold
    """That of the check."""


@dataclass(frozen=True, slots=True, eq=False)
class Newcomer:
    """Whose samples are looked at."""

    subject_id: SubjectId | None
    """None: it gets an id later."""
    distinct_from: frozenset[str]
    """Known to be others."""


class IntegrityChecks:
    """Looks for outliers and duplicates.

    Args:
        store: knows the templates of a subject.
        scatter: searches a collection.
        thresholds: the error rates.
    """

    def __init__(self, store: Store, scatter: Scatter, thresholds: Thresholds) -> None:
        self._store = store
        self._scatter = scatter
        self._thresholds = thresholds

    async def templates_of(self, collection_id: CollectionId, subject_id: SubjectId | None) -> Vectors:
        """A subject's templates as unit rows, shape (k, d); k = 0 of nobody."""
        row = await self._store.find_row(collection_id, subject_id) if subject_id is not None else None
        return unit_rows([template.vector for template in row.templates] if row is not None else [])

    def alike_score(self, model_id: ModelId) -> float | None:
        """The score with a subject's other samples from which on one looks like them; None: it cannot be said."""
        try:
            return self._thresholds.for_comparison(model_id, OUTLIER_FMR).score
        except (CalibrationTooSmallError, NoCalibrationError):
            get_logger().warning("enrolment.outliers_not_checked", model=model_id)
            return None

    async def outliers(
        self, record: CollectionRecord, subject_id: SubjectId | None, samples: Sequence[Sample]
    ) -> tuple[bool, ...]:
        """For each sample, whether it does not look like the subject's others."""
        least = self.alike_score(record.model_id)
        own = await self.templates_of(record.collection_id, subject_id)
        if least is None or len(samples) + len(own) < 2 or not samples:
            return (False,) * len(samples)
        rows = np.stack([sample.embedding.vector for sample in samples])
        return unlike_the_rest(rows, own, least)

    async def duplicates(
        self,
        live: LiveCollection,
        newcomer: Newcomer,
        samples: Sequence[Sample],
        deadline: Deadline,
        *,
        allow_partial: bool,
    ) -> tuple[DuplicateFound, ...]:
        """Other subjects that the samples look like, best first.

        Raises:
            GalleryIncompleteError: a part of the collection cannot be searched now, and `allow_partial` is false.
        """
        threshold = self._threshold(live)
        if threshold is None:
            return ()
        probe = _joined(samples)
        asked = Asked((probe,), CANDIDATES + 1, Wanted())
        found = await self._scatter.search(live, asked, deadline, allow_partial=allow_partial)
        near = [hit for hit in found.hits[0] if hit.score >= min(threshold.score, CANDIDATE_SHARE * threshold.score)]
        collection_id = live.record.collection_id
        scored = await self._scored(collection_id, probe, [h for h in near if h.subject_id != newcomer.subject_id])
        alike = sorted((pair for pair in scored if pair[0] >= threshold.score), key=lambda pair: -pair[0])
        if not alike:
            return ()
        apart = newcomer.distinct_from | await self._known_apart(collection_id, newcomer.subject_id)
        others = [who for _, who in alike if not await self._are_apart(live, newcomer.subject_id, apart, who)]
        return tuple(DuplicateFound(who, threshold) for who in others[:MAX_DUPLICATES])

    async def _scored(
        self, collection_id: CollectionId, probe: Embedding, hits: Sequence[Hit]
    ) -> list[tuple[float, SubjectId]]:
        """The score of the mean of each subject's templates."""
        rows = await asyncio.gather(*(self.templates_of(collection_id, hit.subject_id) for hit in hits))
        # A row that is gone, or already another model's, is of a later state than the search: that one's score holds.
        return [
            (mean_score(probe.vector, own) if own.shape[1:] == probe.vector.shape else hit.score, hit.subject_id)
            for hit, own in zip(hits, rows, strict=True)
        ]

    def _threshold(self, live: LiveCollection) -> Threshold | None:
        subjects, model_id = subjects_of(live), live.record.model_id
        if subjects == 0:
            return None
        try:
            return self._thresholds.for_search(model_id, DUPLICATE_FPIR, subjects, allow_extrapolation=True)
        except (CalibrationTooSmallError, NoCalibrationError):
            get_logger().warning("enrolment.duplicates_not_checked", model=model_id, subjects=subjects)
            return None

    async def _known_apart(self, collection_id: CollectionId, subject_id: SubjectId | None) -> frozenset[str]:
        own = await self._store.find_subject(collection_id, subject_id) if subject_id is not None else None
        return frozenset(own.profile.distinct_from if own is not None else ())

    async def _are_apart(
        self, live: LiveCollection, subject_id: SubjectId | None, apart: frozenset[str], other_id: SubjectId
    ) -> bool:
        """Whether somebody has said that the two are different people, of either of them."""
        if other_id in apart:
            return True
        other = await self._store.find_subject(live.record.collection_id, other_id)
        return other is None or subject_id in other.profile.distinct_from


def unit_rows(vectors: Sequence[np.ndarray[tuple[int], np.dtype[np.float16]]]) -> Vectors:
    """Templates as unit rows, shape (k, d)."""
    if not vectors:
        return np.empty((0, 0), np.float32)
    rows = np.array(vectors, dtype=np.float32)
    unit: Vectors = rows / np.maximum(1e-12, np.linalg.norm(rows, axis=1, keepdims=True))
    return unit


def _joined(samples: Sequence[Sample]) -> Embedding:
    """All samples as one probe; the best one where they cancel out."""
    weights = [max(_LEAST_WEIGHT, sample.quality.overall) if sample.quality else 1.0 for sample in samples]
    try:
        return fuse([sample.embedding for sample in samples], weights)
    except InvalidInputError:
        return samples[int(np.argmax(weights))].embedding
