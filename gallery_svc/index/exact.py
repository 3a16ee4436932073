"""Exact cosine search: every template is compared, in float32 to find the best and in float64 to rank them.

The state that readers see is a snapshot that is never changed, only replaced. New templates are written behind the
last row that any snapshot reads, so that an enrolment costs its own rows; an erasure copies what stays, so that no
vector of an erased subject remains in memory.

Source: the two passes follow the usual re-ranking of an approximate scan; here the first pass is off by rounding alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gallery_svc.index.protocol import Addition, Hit, Removal, Update
from tessera.domain.embedding import Embedding, Vector, Vectors
from tessera.domain.errors import ModelMismatchError
from tessera.domain.ids import ModelId, SubjectId, TemplateId

Scores = npt.NDArray[np.float64]

FLOAT32_SLACK = 1e-5
"""Two float32 dot products of unit vectors of up to 4096 numbers differ by less from their float64 values."""
_FIRST_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class _Snapshot:
    """One state. The lists and arrays may be longer than `rows`: what lies behind belongs to later states."""

    rows: int
    vectors: Vectors
    subject_of_row: npt.NDArray[np.int32]
    template_of_row: list[TemplateId]
    subjects: list[SubjectId]
    rows_of: dict[SubjectId, tuple[int, ...]]


class ExactIndex:
    """Every template of one model in one contiguous array.

    Args:
        model_id: the model whose embeddings it holds.
    """

    def __init__(self, model_id: ModelId) -> None:
        self._model_id = model_id
        self._snapshot = _empty(0)
        self._known: set[TemplateId] = set()

    @property
    def model_id(self) -> ModelId:
        """The one model whose embeddings it holds."""
        return self._model_id

    @property
    def subject_count(self) -> int:
        """Subjects with at least one template."""
        return len(self._snapshot.rows_of)

    @property
    def template_count(self) -> int:
        """Templates."""
        return self._snapshot.rows

    def __contains__(self, subject_id: object) -> bool:
        """Whether the subject has a template here."""
        return subject_id in self._snapshot.rows_of

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates in their order; readers see all of them or none."""
        additions: dict[TemplateId, Addition] = {}
        removed: set[SubjectId] = set()
        for update in updates:
            if isinstance(update, Removal):
                additions = {key: kept for key, kept in additions.items() if kept.subject_id != update.subject_id}
                removed.add(update.subject_id)
            elif update.template_id not in self._known or update.subject_id in removed:
                additions[update.template_id] = update
        snapshot = self._snapshot
        if removed & snapshot.rows_of.keys():
            snapshot = _without(snapshot, removed)
            self._known = set(snapshot.template_of_row[: snapshot.rows])
        if additions:
            snapshot = _with(snapshot, list(additions.values()))
            self._known |= additions.keys()
        self._snapshot = snapshot

    def search(self, probe: Embedding, limit: int) -> list[Hit]:
        """The subjects most like the probe, best first, ties by subject id."""
        self._require_model(probe)
        snapshot = self._snapshot
        if snapshot.rows == 0:
            return []
        rows = _rows_worth_ranking(snapshot, probe.vector, limit)
        best: dict[SubjectId, Hit] = {}
        for row, score in zip(rows.tolist(), _scores(snapshot.vectors[rows], probe.vector).tolist(), strict=True):
            hit = Hit(snapshot.subjects[snapshot.subject_of_row[row]], snapshot.template_of_row[row], score)
            if hit.subject_id not in best or _rank(hit) < _rank(best[hit.subject_id]):
                best[hit.subject_id] = hit
        return sorted(best.values(), key=_rank)[:limit]

    def best_of(self, subject_id: SubjectId, probe: Embedding) -> Hit | None:
        """The subject's template most like the probe."""
        self._require_model(probe)
        snapshot = self._snapshot
        rows = snapshot.rows_of.get(subject_id)
        if rows is None:
            return None
        scores = _scores(snapshot.vectors[list(rows)], probe.vector).tolist()
        hits = (Hit(subject_id, snapshot.template_of_row[row], s) for row, s in zip(rows, scores, strict=True))
        return min(hits, key=_rank)

    def _require_model(self, probe: Embedding) -> None:
        if probe.model_id != self._model_id:
            raise ModelMismatchError(self._model_id, probe.model_id)


def _rank(hit: Hit) -> tuple[float, SubjectId, TemplateId]:
    return (-hit.score, hit.subject_id, hit.template_id)


def _scores(vectors: Vectors, probe: Vector) -> Scores:
    # Summed row by row: the same vector gets the same score wherever it stands; a matrix product does not promise it.
    scores: Scores = np.sum(vectors.astype(np.float64) * probe.astype(np.float64), axis=1)
    return np.clip(scores, -1.0, 1.0)


def _rows_worth_ranking(snapshot: _Snapshot, probe: Vector, limit: int) -> npt.NDArray[np.intp]:
    scores = snapshot.vectors[: snapshot.rows] @ probe
    subject_of_row = snapshot.subject_of_row[: snapshot.rows]
    best = np.full(len(snapshot.rows_of), -np.inf, dtype=np.float32)
    np.maximum.at(best, subject_of_row, scores)
    if best.size > limit:
        floor = np.partition(best, best.size - limit)[best.size - limit] - FLOAT32_SLACK
    else:
        floor = np.float32(-np.inf)
    return np.flatnonzero(scores >= floor)


def _empty(dimensions: int) -> _Snapshot:
    vectors = np.zeros((_FIRST_ROWS if dimensions else 0, dimensions), dtype=np.float32)
    return _Snapshot(0, vectors, np.zeros(len(vectors), dtype=np.int32), [], [], {})


def _with(before: _Snapshot, additions: Sequence[Addition]) -> _Snapshot:
    after = _with_room(before, before.rows + len(additions), additions[0].vector.size)
    number_of = {subject_id: int(after.subject_of_row[rows[0]]) for subject_id, rows in _touched(after, additions)}
    rows_of = dict(after.rows_of)
    for row, addition in enumerate(additions, start=after.rows):
        number = number_of.get(addition.subject_id)
        if number is None:
            number = number_of[addition.subject_id] = len(after.subjects)
            after.subjects.append(addition.subject_id)
        after.vectors[row] = addition.vector
        after.subject_of_row[row] = number
        after.template_of_row.append(addition.template_id)
        rows_of[addition.subject_id] = (*rows_of.get(addition.subject_id, ()), row)
    rows = after.rows + len(additions)
    return _Snapshot(rows, after.vectors, after.subject_of_row, after.template_of_row, after.subjects, rows_of)


def _touched(snapshot: _Snapshot, additions: Sequence[Addition]) -> list[tuple[SubjectId, tuple[int, ...]]]:
    ids = {addition.subject_id for addition in additions}
    return [(subject_id, snapshot.rows_of[subject_id]) for subject_id in ids if subject_id in snapshot.rows_of]


def _with_room(snapshot: _Snapshot, rows: int, dimensions: int) -> _Snapshot:
    if rows <= len(snapshot.vectors):
        return snapshot
    room = max(_FIRST_ROWS, rows, 2 * len(snapshot.vectors))
    vectors = np.zeros((room, dimensions), dtype=np.float32)
    subject_of_row = np.zeros(room, dtype=np.int32)
    if snapshot.rows:
        vectors[: snapshot.rows] = snapshot.vectors[: snapshot.rows]
        subject_of_row[: snapshot.rows] = snapshot.subject_of_row[: snapshot.rows]
    return _Snapshot(
        snapshot.rows,
        vectors,
        subject_of_row,
        snapshot.template_of_row[: snapshot.rows],
        snapshot.subjects[: len(snapshot.rows_of)],
        snapshot.rows_of,
    )


def _without(before: _Snapshot, removed: set[SubjectId]) -> _Snapshot:
    subjects = before.subjects[: len(before.rows_of)]
    subject_stays = np.array([subject_id not in removed for subject_id in subjects])
    row_stays = subject_stays[before.subject_of_row[: before.rows]]
    kept = np.flatnonzero(row_stays)
    if not kept.size:
        return _empty(0)
    number_now, row_now = np.cumsum(subject_stays) - 1, (np.cumsum(row_stays) - 1).tolist()
    room = max(_FIRST_ROWS, kept.size)
    vectors = np.zeros((room, before.vectors.shape[1]), dtype=np.float32)
    vectors[: kept.size] = before.vectors[kept]
    subject_of_row = np.zeros(room, dtype=np.int32)
    subject_of_row[: kept.size] = number_now[before.subject_of_row[kept]]
    return _Snapshot(
        int(kept.size),
        vectors,
        subject_of_row,
        [before.template_of_row[row] for row in kept.tolist()],
        [subject_id for subject_id in subjects if subject_id not in removed],
        {
            subject_id: tuple(row_now[row] for row in rows)
            for subject_id, rows in before.rows_of.items()
            if subject_id not in removed
        },
    )
