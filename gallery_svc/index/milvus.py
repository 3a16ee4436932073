"""Search on a Milvus engine, for collections past one machine's memory; the records stay in the gallery's own store.

What it gives up against the exact index: the vectors lie unencrypted on the engine, every call goes over the network
and may find the engine away (`UnavailableError("milvus")`), and with HNSW or DISKANN a search may miss. With FLAT the
answers are the exact index's own: the engine's float32 scores only choose candidates, so many that none can be missing,
and these are ranked here by the same float64 rule. The tests show it on the embedded engine; a server was never tried.

Reads see one state from begin to end, and all of an `apply` or none of it, as far as this process is the one that
writes: searches and writes take turns here. What *another* process writes is seen as Milvus has it: each request to the
engine sees one moment and everything that was written before it, but a subject that loses templates is written and
then trimmed, and a search that needs a second request may see a later moment with it. Neither shows a subject that was
removed before the search began. An `apply` that fails half-way leaves what it wrote; the caller, whose marker has not
moved, applies again, which puts it right.

Display names never go to the engine: they are kept in this process, some 150 bytes for each subject that has one, and
a process that goes on where the engine stands is told them by `take_names`.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gallery_svc.index.milvus_engine import MOST_ROWS, EngineIndex, MilvusEngine, MilvusTable
from gallery_svc.index.milvus_positions import Marker, MilvusPositions
from gallery_svc.index.milvus_rows import (
    Found,
    both,
    candidates,
    engine_rows,
    is_complete,
    not_of_subjects,
    of_subjects,
    ranked,
    rows_of,
    wanted_expression,
)
from gallery_svc.index.milvus_turns import Turns
from gallery_svc.index.protocol import EVERYBODY, Hit, IndexCoverage, Put, Removal, Update, Wanted
from gallery_svc.rows import RowBatch, SearchRow
from tessera.domain.embedding import Embedding
from tessera.domain.errors import InvalidInputError, ModelMismatchError
from tessera.domain.ids import ModelId, SubjectId

_T = TypeVar("_T")

_SUBJECTS_A_QUESTION = 1000
_SUBJECTS_AN_ANSWER = 256
_FIRST_ROWS = 16
_GROWTH = 4


@dataclass(slots=True)
class _Counts:
    subjects: int
    templates: int


class MilvusIndex:
    """Every template of one model in one table of an engine.

    Args:
        model_id: the model whose embeddings it holds.
        engine: where the table lies; several indexes may share one.
        name: of the table, by `table_name`: another for each collection, generation and epoch.
        kind: how the engine searches.
        writes: whether this process writes to the table. At most one does, by a lease; the others search, and what they
            `apply` or `load` changes the display names alone.
        most_rows: rows that the engine returns for one probe, where its own limit is lower than the usual one.
    """

    def __init__(
        self,
        model_id: ModelId,
        engine: MilvusEngine,
        name: str,
        *,
        kind: EngineIndex = EngineIndex.FLAT,
        writes: bool = True,
        most_rows: int | None = None,
    ) -> None:
        self.writes = writes
        self._model_id = model_id
        self._table = MilvusTable(engine, name, kind)
        self._positions = MilvusPositions(engine)
        self._kind = kind
        self._most_rows = most_rows
        self._names: dict[SubjectId, str] = {}
        self._name_bytes = 0
        self._counts: _Counts | None = None
        self._turns = Turns()
        self._writing = threading.Lock()

    @property
    def model_id(self) -> ModelId:
        """The one model whose embeddings it holds."""
        return self._model_id

    @property
    def subject_count(self) -> int:
        """Subjects with at least one template; one that does not write asks anew after each `marker`."""
        return self._counted().subjects

    @property
    def template_count(self) -> int:
        """Templates; as `subject_count`."""
        return self._counted().templates

    @property
    def coverage(self) -> IndexCoverage:
        """What its answers are worth; its bytes are those of the display names."""
        size_bytes = sys.getsizeof(self._names) + self._name_bytes
        return IndexCoverage(exact=self._kind is EngineIndex.FLAT, vectors_in_clear=True, memory_bytes=size_bytes)

    def __contains__(self, subject_id: object) -> bool:
        """Whether the subject has a template here."""
        if not isinstance(subject_id, str) or self._table.dimensions() is None:
            return False
        return bool(self._table.keys(of_subjects([subject_id])))

    # ---- writing

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates in their order; the last of each subject decides. The same again changes nothing.

        Raises:
            UnavailableError: the engine is away; some of it may be written, and applying it again writes the rest.
            InvalidInputError: a vector has another length than those that are here.
        """
        last = {_subject_of(update): update for update in updates}
        puts = {who: update.row for who, update in last.items() if isinstance(update, Put) and update.row.templates}
        with self._writing:
            if self.writes:
                self._write(list(last), list(puts.values()))
            for who in last:
                self._name(who, puts[who].profile.display_name if who in puts else "")

    def expect(self, subjects: int) -> None:
        """Nothing is made ready."""

    def load(self, batch: RowBatch) -> None:
        """Take many subjects that are not there yet; for an index that is shown to nobody before its end.

        Raises:
            ValueError: a subject is there already.
            UnavailableError: the engine is away; `reset` and begin anew.
        """
        with self._writing:
            if self.writes:
                self._insert(batch)
            self.take_names(batch)

    def take_names(self, batch: RowBatch) -> None:
        """Learn the display names of subjects that the engine has already."""
        for who, name, count in zip(batch.subject_ids, batch.display_names, batch.counts, strict=True):
            self._name(SubjectId(who), name if count else "")

    def reset(self) -> None:
        """Throw the table away with its marker: another history, another model, or a collection that is gone."""
        with self._writing, self._turns.writing():
            if self.writes:
                # The marker first: a table without one is built anew by whoever finds it.
                self._positions.forget(self._table.name)
                self._table.drop()
            self._names, self._name_bytes, self._counts = {}, 0, None

    def compact(self) -> None:
        """Ask the engine to write its files anew without the vectors of removed subjects. When it has is not told."""
        if self.writes and self._table.dimensions() is not None:
            self._table.compact()

    def marker(self) -> Marker:
        """How far the engine has come, for each shard; empty when nobody has said: then the table is to be `reset`."""
        marker = self._positions.read(self._table.name)
        if not self.writes:
            self._counts = None
            self._table.forget()
        return marker

    def set_marker(self, marker: Mapping[int, tuple[int, str]]) -> None:
        """Say how far it has come, after what it speaks of was applied or loaded.

        Args:
            marker: shard -> sequence and chain of the last change.
        """
        if self.writes:
            self._positions.write(self._table.name, marker)

    # ---- searching

    def search(self, probe: Embedding, limit: int, wanted: Wanted = EVERYBODY) -> list[Hit]:
        """The subjects most like the probe, best first, ties by subject id and then template id.

        Raises:
            ModelMismatchError: the probe was made by another model.
            UnavailableError: the engine is away.
        """
        return self.search_many([probe], limit, wanted)[0]

    def search_many(self, probes: Sequence[Embedding], limit: int, wanted: Wanted = EVERYBODY) -> list[list[Hit]]:
        """As `search` for each of the probes, in as few requests as the engine's limits allow.

        Raises:
            ModelMismatchError: a probe was made by another model.
            InvalidInputError: the limit is below 1, or a probe has another length than the vectors.
            UnavailableError: the engine is away.
        """
        if limit < 1:
            raise InvalidInputError("limit", limit, "at least 1")
        for probe in probes:
            self._require_model(probe)
        with self._turns.reading():
            dimensions = self._table.dimensions()
            if dimensions is None or not probes:
                return [[] for _ in probes]
            for probe in probes:
                _require_dimensions("embedding.values", probe.vector.size, dimensions)
            found = self._found(probes, limit, wanted_expression(wanted))
            return [ranked(rows, probe, limit, self._names) for rows, probe in zip(found, probes, strict=True)]

    def best_of(self, subject_id: SubjectId, probe: Embedding, wanted: Wanted = EVERYBODY) -> Hit | None:
        """The subject's template most like the probe; None when the subject has none, or is not wanted.

        Raises:
            ModelMismatchError: the probe was made by another model.
            UnavailableError: the engine is away.
        """
        self._require_model(probe)
        with self._turns.reading():
            if self._table.dimensions() is None:
                return None
            found = self._table.rows(both(of_subjects([subject_id]), wanted_expression(wanted)))
            best = next(iter(ranked(found, probe, 1, self._names)), None)
            return None if best is None else replace(best, compared=len(found))

    def name_of(self, subject_id: SubjectId) -> str:
        """The subject's display name; empty when it has none or is not here."""
        return self._names.get(subject_id, "")

    # ---- how it is done

    def _write(self, touched: Sequence[SubjectId], puts: Sequence[SearchRow]) -> None:
        rows = [row for put in puts for row in rows_of(put)]
        for put in puts:
            for template in put.templates:
                self._require_table(template.vector.size)
        if self._table.dimensions() is None:
            return
        before: dict[str, bool] = {}
        for some in _in_parts(touched, _SUBJECTS_A_QUESTION):
            before.update(self._table.keys(of_subjects(some)))
        counts, self._counts = self._counts, None
        with self._turns.writing():
            self._table.upsert(rows)
            self._table.delete(sorted(before.keys() - {str(row["row"]) for row in rows}))
        if counts is not None:
            subjects, templates = len(puts) - sum(before.values()), len(rows) - len(before)
            self._counts = _Counts(counts.subjects + subjects, counts.templates + templates)

    def _insert(self, batch: RowBatch) -> None:
        counted = zip(batch.subject_ids, batch.counts, strict=True)
        there = [subject_id for subject_id, count in counted if count]
        if not there:
            return
        self._require_table(batch.vectors.shape[1])
        parts = _in_parts(there, _SUBJECTS_A_QUESTION)
        if len(set(there)) < len(there) or any(self._table.count(of_subjects(some)) for some in parts):
            raise ValueError("a subject is there already")
        self._counts = None
        self._table.insert(_batch_rows(batch))

    def _require_table(self, dimensions: int) -> None:
        there = self._table.dimensions()
        if there is None:
            self._table.create(dimensions)
        else:
            _require_dimensions("vectors", dimensions, there)

    def _found(self, probes: Sequence[Embedding], limit: int, expression: str) -> list[Found]:
        most = min(self._most_rows or MOST_ROWS, self._table.most_rows())
        asked = min(most, max(_FIRST_ROWS, 2 * limit + 8))
        done: dict[int, Found] = {}
        while len(done) < len(probes):
            open_ones = [at for at in range(len(probes)) if at not in done]
            for some in _in_parts(open_ones, max(1, most // asked)):
                answers = self._table.nearest([probes[at].vector for at in some], asked, expression)
                for at, found in zip(some, answers, strict=True):
                    if self._is_enough(found, asked, limit):
                        done[at] = found
                    elif asked == most:
                        done[at] = self._beyond(probes[at], limit, expression, found, most)
            asked = min(most, asked * _GROWTH)
        return [done[at] for at in range(len(probes))]

    def _is_enough(self, found: Found, asked: int, limit: int) -> bool:
        if self._kind is EngineIndex.FLAT:
            return is_complete(found, asked, limit)
        return len(set(found.subject_ids)) >= limit

    def _beyond(self, probe: Embedding, limit: int, expression: str, found: Found, most: int) -> Found:
        """What one answer of the engine cannot hold: so many templates are alike, or a graph finds too few."""
        if self._kind is not EngineIndex.FLAT:
            return self._table.rows(expression)
        more = found
        while not is_complete(found, len(found) if len(more) == most else len(found) + 1, limit):
            others = both(expression, not_of_subjects(set(found.subject_ids)))
            more = self._table.nearest([probe.vector], most, others)[0]
            found = found.and_also(more)
        # A subject that was set aside may have a better template that was never told: all of theirs are read.
        parts = _in_parts(sorted(candidates(found, limit)), _SUBJECTS_AN_ANSWER)
        answers = [self._table.rows(both(expression, of_subjects(some))) for some in parts]
        return functools.reduce(Found.and_also, answers)

    def _counted(self) -> _Counts:
        counts = self._counts
        if counts is None:
            there = self._table.dimensions() is not None
            counts = _Counts(self._table.count("first == true"), self._table.count()) if there else _Counts(0, 0)
            self._counts = counts
        return counts

    def _name(self, who: SubjectId, name: str) -> None:
        before = self._names.pop(who, "")
        if before:
            self._name_bytes -= sys.getsizeof(who) + sys.getsizeof(before)
        if name:
            self._names[who] = name
            self._name_bytes += sys.getsizeof(who) + sys.getsizeof(name)

    def _require_model(self, probe: Embedding) -> None:
        if probe.model_id != self._model_id:
            raise ModelMismatchError(self._model_id, probe.model_id)


def _subject_of(update: Update) -> SubjectId:
    return update.subject_id if isinstance(update, Removal) else update.row.subject_id


def _require_dimensions(field: str, got: int, dimensions: int) -> None:
    if got != dimensions:
        raise InvalidInputError(field, f"{got} numbers", f"{dimensions} numbers")


def _in_parts(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _batch_rows(batch: RowBatch) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    first = 0
    for who, profile, count in zip(batch.subject_ids, batch.profiles, batch.counts, strict=True):
        templates = zip(batch.template_ids[first : first + count], batch.vectors[first : first + count], strict=True)
        rows.extend(engine_rows(who, profile, templates))
        first += count
    return rows
