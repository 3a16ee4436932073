"""Exact cosine search: every template is compared, in float32 to find the best and in float64 to rank them.

The state that readers see is a snapshot that is never changed, only replaced. New subjects are written behind the last
row that any snapshot reads, so that an enrolment costs its own rows. Who goes or changes is taken out of a copy of his
segment alone; the old one is overwritten with zeros when its last reader is done. Nothing here reads the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from itertools import compress

import numpy as np

from gallery_svc.index.changes import Change, add_all
from gallery_svc.index.directory import ROW_BITS, Directory
from gallery_svc.index.filters import finds
from gallery_svc.index.incoming import batch_of, is_same, new_rows
from gallery_svc.index.protocol import EVERYBODY, Hit, IndexCoverage, Put, Update, Wanted
from gallery_svc.index.ranking import exact_scores
from gallery_svc.index.segments import NewRows, Segment
from gallery_svc.index.snapshots import Snapshot
from gallery_svc.rows import RowBatch, SearchRow
from tessera.domain.embedding import Embedding, Vectors
from tessera.domain.errors import InvalidInputError, ModelMismatchError
from tessera.domain.ids import ModelId, SubjectId


class ExactIndex:
    """Every template of one model. One writer at a time; readers on any thread.

    Args:
        model_id: the model whose embeddings it holds.
        helpers: threads that take a part of a large batch each, beside the one that searches; they are the caller's,
            and nothing else that searches runs on them.
    """

    def __init__(self, model_id: ModelId, helpers: Sequence[Executor] = ()) -> None:
        self._model_id = model_id
        self._helpers = helpers
        self._snapshot = Snapshot()
        self._directory = Directory()
        self._spoiled: int | None = None

    @property
    def model_id(self) -> ModelId:
        """The one model whose embeddings it holds."""
        return self._model_id

    @property
    def subject_count(self) -> int:
        """Subjects with at least one template."""
        return self._snapshot.subjects

    @property
    def template_count(self) -> int:
        """Templates."""
        return self._snapshot.templates

    @property
    def coverage(self) -> IndexCoverage:
        """Exact, and all in this process."""
        columns = [segment.columns for segment in self._snapshot.segments if segment is not None]
        memory_bytes = self._directory.nbytes + sum(each.nbytes for each in columns)
        return IndexCoverage(exact=True, vectors_in_clear=False, memory_bytes=memory_bytes)

    def __contains__(self, subject_id: object) -> bool:
        """Whether the subject has a template here."""
        return isinstance(subject_id, str) and self._located(subject_id) is not None

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates in their order; readers see all of them or none."""
        # An update replaces all that there was of its subject, so that only the last one of each counts.
        last: dict[SubjectId, SearchRow | None] = {}
        for update in updates:
            if isinstance(update, Put):
                last[update.row.subject_id] = update.row if update.row.templates else None
            else:
                last[update.subject_id] = None
        gone: dict[int, list[int]] = {}
        come: list[SearchRow] = []
        snapshot = self._snapshot
        for subject_id, row in last.items():
            place = snapshot.find(self._directory, subject_id)
            if place is not None:
                segment, first_row = snapshot.at(place)
                if row is not None and is_same(segment, first_row, row):
                    continue
                gone.setdefault(place >> ROW_BITS, []).append(first_row)
            if row is not None:
                come.append(row)
        if gone or come:
            self._change(gone, self._checked(batch_of(come)) if come else None)

    def expect(self, subjects: int) -> None:
        """Make the directory large enough at once: one that grows on the way reads every id again, about twice."""
        if not self._snapshot.subjects:
            self._directory = Directory.of(subjects)

    def load(self, batch: RowBatch) -> None:
        """Take many subjects that are not there yet; for an index that is shown to nobody before its end.

        Raises:
            ValueError: a subject is there already.
            InvalidInputError: the columns do not fit each other, or a vector is of another length than the rest.
        """
        new = self._checked(batch)
        ids: Sequence[str] = batch.subject_ids
        if not all(batch.counts):
            ids = list(compress(ids, batch.counts))
        known = any(self._snapshot.holds(place, ids[at]) for at, place in self._directory.look_all(new.hashes))
        ordered = np.sort(new.hashes)
        if known or ((ordered[1:] == ordered[:-1]).any() and len(set(ids)) != len(ids)):
            raise ValueError("a subject of the batch is there already")
        self._change({}, new)

    def search(self, probe: Embedding, limit: int, wanted: Wanted = EVERYBODY) -> list[Hit]:
        """The subjects most like the probe, best first, ties by subject id and then template id."""
        return self.search_many([probe], limit, wanted)[0]

    def search_many(self, probes: Sequence[Embedding], limit: int, wanted: Wanted = EVERYBODY) -> list[list[Hit]]:
        """As `search` for each of the probes, all over one state; the same answers, quicker together."""
        if limit < 1:
            raise InvalidInputError("limit", limit, "at least 1")
        snapshot = self._snapshot
        vectors = self._vectors(probes, snapshot.dimensions)
        return snapshot.search(vectors, limit, wanted, self._helpers) if len(vectors) else [[] for _ in probes]

    def best_of(self, subject_id: SubjectId, probe: Embedding, wanted: Wanted = EVERYBODY) -> Hit | None:
        """The subject's template most like the probe."""
        vectors = self._vectors([probe], self._snapshot.dimensions)
        found = self._located(subject_id)
        if found is None or not finds(*found, wanted):
            return None
        segment, first_row = found
        run = segment.run(first_row)
        scores = exact_scores(segment.halves[run.start : run.stop], vectors[0]).tolist()
        best, template_id = min((-score, segment.template_id(row)) for row, score in zip(run, scores, strict=True))
        return Hit(subject_id, template_id, -best, segment.name(first_row), len(run))

    def name_of(self, subject_id: SubjectId) -> str:
        """The subject's display name; empty when it has none or is not here."""
        found = self._located(subject_id)
        return "" if found is None else found[0].name(found[1])

    def _located(self, subject_id: str) -> tuple[Segment, int] | None:
        while True:
            snapshot = self._snapshot
            place = snapshot.find(self._directory, subject_id)
            if place is not None:
                return snapshot.at(place)
            # The directory may have gone on to a later state in between, in which the subject stands elsewhere.
            if snapshot is self._snapshot:
                return None

    def _vectors(self, probes: Sequence[Embedding], dimensions: int | None) -> Vectors:
        for probe in probes:
            if probe.model_id != self._model_id:
                raise ModelMismatchError(self._model_id, probe.model_id)
            if dimensions is not None and probe.vector.size != dimensions:
                raise InvalidInputError("embedding.values", f"{probe.vector.size} numbers", f"{dimensions} numbers")
        if dimensions is None or not probes:
            return np.empty((0, 0), np.float32)
        # A view of a single one: `np.stack` takes longer than the comparison with one subject.
        return probes[0].vector[np.newaxis] if len(probes) == 1 else np.stack([probe.vector for probe in probes])

    def _checked(self, batch: RowBatch) -> NewRows:
        dimensions = self._snapshot.dimensions
        if dimensions is not None and len(batch.vectors) and batch.vectors.shape[1] != dimensions:
            raise InvalidInputError("vectors", f"{batch.vectors.shape[1]} numbers", f"{dimensions} numbers")
        return new_rows(batch)

    def _change(self, gone: Mapping[int, Sequence[int]], new: NewRows | None) -> None:
        change = Change(self._snapshot, self._spoiled)
        if self._spoiled is not None:
            gone = {self._spoiled: (), **gone}
        # Until all is done: a change that fails may leave rows behind the last one.
        self._spoiled = self._snapshot.tail if self._snapshot.tail >= 0 else None
        for number, first_rows in gone.items():
            change.drop(number, first_rows)
        if new is not None:
            change.append(new)
        after = change.after()
        self._show(change, after)
        self._spoiled = None

    def _show(self, change: Change, after: Snapshot) -> None:
        if not self._directory.has_room(len(change.added)):
            larger = self._directory.larger(self._snapshot.subjects + len(change.added))
            add_all(larger, self._snapshot.segments)
            self._directory = larger
        for hashes, places in change.added:
            self._directory.add(hashes, places)
        self._snapshot = after
        for hashes, places in change.removed:
            self._directory.remove(hashes, places)
        change.wipe_what_was_left()
