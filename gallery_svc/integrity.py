"""The two looks at samples before they become templates: are they of one person, and is that person here already.

Both thresholds are error rates of the collection's own calibration. They warn of mistakes of people and keep nobody
out: a check that the calibration cannot carry is left out and told in the log, and the enrolment goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gallery_svc.gallery_size import size_of
from gallery_svc.index.protocol import Hit, Wanted
from gallery_svc.live import LiveCollection
from gallery_svc.own_part import Asked
from gallery_svc.probes import Deadline, Sample
from gallery_svc.scatter import Scatter
from gallery_svc.store.protocol import Store
from gallery_svc.store.records import CollectionRecord
from gallery_svc.thresholds import Thresholds
from tessera.chassis.logs import get_logger
from tessera.domain.calibration import Threshold
from tessera.domain.consistency import unlike_the_rest
from tessera.domain.embedding import Embedding, Vectors, fuse
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError, NoCalibrationError
from tessera.domain.ids import CollectionId, ModelId, SubjectId

OUTLIER_FMR = 1e-2
"""Somebody else's sample looks like a subject's others with about this probability."""
DUPLICATE_FPIR = 5e-3
"""A new person's samples look like somebody who is enrolled with about this probability."""
MAX_DUPLICATES = 5
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
        asked = Asked((_joined(samples),), MAX_DUPLICATES + 1, Wanted())
        found = await self._scatter.search(live, asked, deadline, allow_partial=allow_partial)
        alike = [hit for hit in found.hits[0] if hit.score >= threshold.score and hit.subject_id != newcomer.subject_id]
        if not alike:
            return ()
        apart = newcomer.distinct_from | await self._known_apart(live.record.collection_id, newcomer.subject_id)
        others = [hit for hit in alike if not await self._are_apart(live, newcomer.subject_id, apart, hit)]
        return tuple(DuplicateFound(hit.subject_id, threshold) for hit in others[:MAX_DUPLICATES])

    def _threshold(self, live: LiveCollection) -> Threshold | None:
        size, model_id = size_of(live), live.record.model_id
        if size.subjects == 0:
            return None
        try:
            return self._thresholds.for_search(model_id, DUPLICATE_FPIR, size.compared(0), allow_extrapolation=True)
        except (CalibrationTooSmallError, NoCalibrationError):
            get_logger().warning("enrolment.duplicates_not_checked", model=model_id, subjects=size.subjects)
            return None

    async def _known_apart(self, collection_id: CollectionId, subject_id: SubjectId | None) -> frozenset[str]:
        own = await self._store.find_subject(collection_id, subject_id) if subject_id is not None else None
        return frozenset(own.profile.distinct_from if own is not None else ())

    async def _are_apart(
        self, live: LiveCollection, subject_id: SubjectId | None, apart: frozenset[str], hit: Hit
    ) -> bool:
        """Whether somebody has said that the two are different people, of either of them."""
        if hit.subject_id in apart:
            return True
        other = await self._store.find_subject(live.record.collection_id, hit.subject_id)
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
