"""The same people under two models: what a change of the encoder would change, measured before it is made.

Some subjects are drawn, and each of their templates is searched among all others, in indexes that are made for this
and thrown away. Nothing is written and nothing is decided here; what the figures are worth is the operator's to say.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gallery_svc.gallery_size import GallerySize
from gallery_svc.index.protocol import Index
from gallery_svc.judging import search_threshold
from gallery_svc.rows import HalfVector, RowBatch
from gallery_svc.shadow import row_ranges
from gallery_svc.store.collection_records import CollectionRecord, EpochRecord
from gallery_svc.store.protocol import Store
from gallery_svc.thresholds import Thresholds
from tessera.chassis.tasks import ended
from tessera.domain.calibration import Threshold
from tessera.domain.decision import Candidate, Decision, Outcome, decide_identification
from tessera.domain.embedding import Embedding
from tessera.domain.ids import ModelId, SubjectId, TemplateId

PROBES_A_SEARCH = 64

Vectors = Mapping[TemplateId, HalfVector]


@dataclass(frozen=True, slots=True)
class EpochComparison:
    """What two models make of the same people."""

    subjects: int
    """That were drawn and that both have."""
    rank1_agreement: float
    """Share of the probes with another template of the same subject whose best subject both agree on; NaN without
    any such probe."""
    decisions_changed: float
    """Share of all probes whose decision is another one at the collection's policy; NaN without any probe."""


@dataclass(slots=True)
class Draw:
    """Some subjects out of many that pass by one batch after the other: the same for a seed, in whatever order.

    Those are drawn whose digest under the seed is smallest, which is a sample without replacement.
    """

    wanted: int
    seed: str
    drawn: dict[SubjectId, Vectors] = field(default_factory=dict)
    _keys: dict[SubjectId, bytes] = field(default_factory=dict)

    def offer(self, batch: RowBatch) -> None:
        """See some more subjects."""
        for name, rows in row_ranges(batch):
            key = hashlib.blake2b(f"{self.seed}|{name}".encode(), digest_size=16).digest()
            self._keys[SubjectId(name)] = key
            self.drawn[SubjectId(name)] = _vectors(batch, rows)
            if len(self._keys) > 2 * self.wanted + 64:
                self.settle()

    def settle(self) -> None:
        """Let go of all but those that are drawn."""
        kept = sorted(self._keys, key=self._keys.__getitem__)[: self.wanted]
        self._keys = {name: self._keys[name] for name in kept}
        self.drawn = {name: self.drawn[name] for name in kept}


@dataclass(frozen=True, slots=True)
class _Found:
    """What one model says of one probe."""

    best: SubjectId | None
    outcome: Outcome
    matched: SubjectId | None


@dataclass(frozen=True, slots=True)
class _Probe:
    subject_id: SubjectId
    template_id: TemplateId


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One model: its index and what it has of those who are drawn."""

    model_id: ModelId
    index: Index
    rows: Mapping[SubjectId, Vectors]
    threshold: Threshold | Decision


class Comparer:
    """Compares two epochs of a collection.

    Args:
        store: where both are.
        thresholds: the error rates of both models.
        make_index: an empty index for a model.
    """

    def __init__(self, store: Store, thresholds: Thresholds, make_index: Callable[[ModelId], Index]) -> None:
        self._store = store
        self._thresholds = thresholds
        self._make_index = make_index

    async def compare(
        self, record: CollectionRecord, old: EpochRecord, new: EpochRecord, wanted: int, seed: str
    ) -> AsyncIterator[int | EpochComparison]:
        """Tell how many templates are read so far, again and again, and what came of it at the end.

        Args:
            record: of the collection.
            old: the epoch of one model.
            new: that of the other.
            wanted: subjects that are drawn.
            seed: decides which.
        """
        draw, read = Draw(wanted, seed), 0
        newer, older = self._make_index(new.model_id), self._make_index(old.model_id)
        async for batch in self._rows(record, new):
            await ended(asyncio.to_thread(_load, newer, batch, draw.offer))
            read += len(batch.template_ids)
            yield read
        draw.settle()
        rows: dict[SubjectId, Vectors] = {}
        async for batch in self._rows(record, old):
            await ended(asyncio.to_thread(_load, older, batch, lambda some: _collect(some, draw.drawn, rows)))
            read += len(batch.template_ids)
            yield read
        sides = [self._side(record, older, rows), self._side(record, newer, draw.drawn)]
        yield await ended(asyncio.to_thread(compared, *sides))

    def _side(self, record: CollectionRecord, index: Index, rows: Mapping[SubjectId, Vectors]) -> _Side:
        of_model = replace(record, model_id=index.model_id)
        threshold = search_threshold(self._thresholds, of_model, GallerySize(index.subject_count, index.template_count))
        return _Side(index.model_id, index, rows, threshold)

    async def _rows(self, record: CollectionRecord, epoch: EpochRecord) -> AsyncIterator[RowBatch]:
        for shard in range(record.shards):
            async for batch in self._store.load_rows(record.collection_id, shard, epoch.epoch):
                yield batch


def compared(old: _Side, new: _Side) -> EpochComparison:
    """The figures over all probes that both sides have."""
    subjects = sorted(old.rows.keys() & new.rows.keys())
    probes = [_Probe(s, t) for s in subjects for t in sorted(old.rows[s].keys() & new.rows[s].keys())]
    pairs = list(zip(probes, _found(old, probes), _found(new, probes), strict=True))
    mated = [
        (a, b) for probe, a, b in pairs if min(len(old.rows[probe.subject_id]), len(new.rows[probe.subject_id])) > 1
    ]
    return EpochComparison(
        len({probe.subject_id for probe in probes}),
        _share([a.best == b.best for a, b in mated]),
        _share([(a.outcome, a.matched) != (b.outcome, b.matched) for _, a, b in pairs]),
    )


def _found(side: _Side, probes: Sequence[_Probe]) -> list[_Found]:
    found: list[_Found] = []
    for first in range(0, len(probes), PROBES_A_SEARCH):
        some = probes[first : first + PROBES_A_SEARCH]
        embeddings = [Embedding.from_raw(side.rows[p.subject_id][p.template_id], side.model_id) for p in some]
        hits = side.index.search_many(embeddings, 2)
        for probe, embedding, best in zip(some, embeddings, hits, strict=True):
            others = [Candidate(hit.subject_id, hit.score) for hit in best if hit.subject_id != probe.subject_id][:1]
            found.append(_judged(side, [*others, *_own(side, probe, embedding)]))
    return found


def _own(side: _Side, probe: _Probe, embedding: Embedding) -> list[Candidate]:
    """The probe's subject by its other templates: the index finds it by the probe itself."""
    vectors = side.rows[probe.subject_id]
    scores = [_score(vector, embedding) for name, vector in vectors.items() if name != probe.template_id]
    return [Candidate(probe.subject_id, max(scores))] if scores else []


def _judged(side: _Side, candidates: Sequence[Candidate]) -> _Found:
    best = min(candidates, key=lambda one: (-one.score, one.subject_id), default=None)
    best_id = best.subject_id if best is not None else None
    if isinstance(side.threshold, Decision):
        return _Found(best_id, side.threshold.outcome, None)
    outcome = decide_identification(best, side.threshold).outcome
    return _Found(best_id, outcome, best_id if outcome is Outcome.MATCH else None)


def _score(vector: HalfVector, embedding: Embedding) -> float:
    row = vector.astype(np.float64)
    return float(np.clip(row @ embedding.vector.astype(np.float64) / np.linalg.norm(row), -1.0, 1.0))


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers) if answers else math.nan


def _load(index: Index, batch: RowBatch, look: Callable[[RowBatch], None]) -> None:
    index.load(batch)
    look(batch)


def _collect(batch: RowBatch, wanted: Mapping[SubjectId, Vectors], into: dict[SubjectId, Vectors]) -> None:
    into |= {SubjectId(name): _vectors(batch, rows) for name, rows in row_ranges(batch) if SubjectId(name) in wanted}


def _vectors(batch: RowBatch, rows: range) -> Vectors:
    return {TemplateId(batch.template_ids[row]): batch.vectors[row].copy() for row in rows}
