"""Segments: the rows of an index in pieces of about 16 MiB, each with its vectors, ids and what filters ask for.

`Columns` is memory that is only ever written behind what somebody reads; `Segment` is what a reader sees of it and
never changes. A subject's rows stand next to each other in one segment: its id is written at the first of them, and an
empty one at the others. So no number of a subject is kept, and a row's subject is found by going back to the first.

The vectors lie in memory once, with two readers: NumPy for batches, and faiss, whose index is a view of it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import faiss
import numpy as np
import numpy.typing as npt

from gallery_svc.index.blocks import block, settle, wipe
from gallery_svc.index.directory import Hashes, hashes_of
from gallery_svc.index.filters import Mask, MaskCache
from gallery_svc.index.protocol import Hit
from gallery_svc.index.texts import NAMES, SUBJECT_IDS, TEMPLATE_IDS, Packed, Places, TextColumn, Texts
from gallery_svc.rows import HalfVectors
from tessera.domain.embedding import Vector
from tessera.domain.ids import SubjectId, TemplateId

Flags = npt.NDArray[np.bool_]
Approximate = npt.NDArray[np.float32]
Moments = npt.NDArray[np.int64]
Group = tuple[tuple[str, ...], tuple[str, ...]]
"""Labels and cameras, which many subjects have in common."""

SEGMENT_BYTES = 16 * 1024 * 1024
MAX_SEGMENT_ROWS = 65_536
FROM_EVER, UNTIL_EVER = -(2**63), 2**63 - 1
NO_GROUP: Group = ((), ())


def segment_rows(dimensions: int) -> int:
    """How many rows a segment has room for."""
    return max(1, min(MAX_SEGMENT_ROWS, SEGMENT_BYTES // (2 * dimensions)))


@dataclass(frozen=True, slots=True, eq=False)
class NewRows:
    """Rows on their way into a segment: whole subjects, each with all of its templates."""

    vectors: HalfVectors
    deviation: float
    """How far the length of a row is from 1 at most."""
    counts: Places
    """Rows of each subject, at least 1."""
    subject_ids: Packed
    """One for each subject."""
    hashes: Hashes
    """Of the subject ids."""
    template_ids: Packed
    """One for each row."""
    names: Packed | None = None
    """One for each subject; None: nobody has one."""
    groups: Sequence[Group] = ()
    group_of: Places | None = None
    """Which of `groups` each subject has; None: nobody has labels or cameras."""
    valid: Moments | None = None
    """Shape (subjects, 2): microseconds since 1970, from (inclusive) and until (exclusive); None: always."""

    def part(self, first: int, end: int) -> NewRows:
        """Some of the subjects, in a row."""
        start = int(self.counts[:first].sum())
        stop = start + int(self.counts[first:end].sum())
        return NewRows(
            self.vectors[start:stop],
            self.deviation,
            self.counts[first:end],
            self.subject_ids.part(first, end),
            self.hashes[first:end],
            self.template_ids.part(start, stop),
            None if self.names is None else self.names.part(first, end),
            self.groups,
            None if self.group_of is None else self.group_of[first:end],
            None if self.valid is None else self.valid[first:end],
        )


class Columns:
    """Memory for the rows of one segment, written from its beginning to its end.

    Args:
        capacity: rows there is room for; memory is taken as they are written.
        dimensions: of a vector.
        written_now: rows that come at once.
    """

    def __init__(self, capacity: int, dimensions: int, written_now: int = 0) -> None:
        self.capacity = capacity
        self.rows = 0
        self.subjects = 0
        self.deviation = 0.0
        self.halves: HalfVectors = block(capacity * dimensions, np.float16, written_now * dimensions).reshape(
            capacity, dimensions
        )
        self.subject_ids = TextColumn(capacity)
        self.template_ids = TextColumn(capacity)
        self.names: TextColumn | None = None
        self.groups: dict[Group, int] = {}
        self.group_of: npt.NDArray[np.uint16] | None = None
        self.valid: Moments | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that were written."""
        texts = sum(column.nbytes for column in (self.subject_ids, self.template_ids, self.names) if column is not None)
        row_bytes = sum(array[0].nbytes for array in (self.halves, self.group_of, self.valid) if array is not None)
        nbytes: int = texts + self.rows * row_bytes
        return nbytes

    def append(self, new: NewRows) -> None:
        """Write rows behind the last one; there must be room for them."""
        self.halves[self.rows : self.rows + len(new.vectors)] = new.vectors
        self.deviation = max(self.deviation, new.deviation)
        self.subject_ids.append(_at_first_rows(new.subject_ids, new.counts))
        self.template_ids.append(new.template_ids)
        self._append_names(new)
        self._append_groups(new)
        self._append_validity(new)
        self.rows += len(new.vectors)
        self.subjects += len(new.counts)

    def without(self, dead: Flags) -> Columns:
        """A copy in which the rows that `dead` adds have no vector, no id and no name any more.

        Args:
            dead: shape (rows,).
        """
        copy = Columns(self.capacity, self.halves.shape[1], self.rows)
        gone = np.flatnonzero(dead)
        copy.halves[: self.rows] = self.halves[: self.rows]
        copy.halves[gone] = 0
        copy.subject_ids, copy.template_ids = self.subject_ids.without(gone), self.template_ids.without(gone)
        copy.names = None if self.names is None else self.names.without(gone)
        copy.groups = dict(self.groups)
        if self.group_of is not None:
            copy.group_of = block(self.capacity, np.uint16)
            copy.group_of[: self.rows] = self.group_of[: self.rows]
        if self.valid is not None:
            copy.valid = block(2 * self.capacity, np.int64).reshape(self.capacity, 2)
            copy.valid[: self.rows] = self.valid[: self.rows]
        copy.rows, copy.subjects, copy.deviation = self.rows, self.subjects, self.deviation
        return copy

    def settle(self) -> None:
        """No more rows come."""
        settle(self.halves)

    def wipe_with_the_last_reader(self) -> None:
        """Something in here was erased: overwrite it all with zeros once nobody reads it."""
        arenas = [column.arena for column in (self.subject_ids, self.template_ids, self.names) if column is not None]
        weakref.finalize(self, wipe, self.halves, *arenas).atexit = False

    def _append_names(self, new: NewRows) -> None:
        if self.names is None:
            if new.names is None:
                return
            self.names = TextColumn(self.capacity, long=True)
            self.names.append(_nothing(self.rows))
        self.names.append(_nothing(len(new.vectors)) if new.names is None else _at_first_rows(new.names, new.counts))

    def _append_groups(self, new: NewRows) -> None:
        # A reader of earlier rows may look at any moment: what it finds must be whole before it can be found.
        if self.group_of is None:
            if new.group_of is None:
                return
            if self.rows:
                self._group_number(NO_GROUP)
            self.group_of = block(self.capacity, np.uint16)
        here = self.group_of[self.rows : self.rows + len(new.vectors)]
        if new.group_of is None:
            here[:] = self._group_number(NO_GROUP)
            return
        present, numbers = np.unique(new.group_of, return_inverse=True)
        ours = np.array([self._group_number(new.groups[number]) for number in present.tolist()], np.uint16)
        here[:] = np.repeat(ours[numbers], new.counts)

    def _group_number(self, group: Group) -> int:
        return self.groups.setdefault(group, len(self.groups))

    def _append_validity(self, new: NewRows) -> None:
        if self.valid is None:
            if new.valid is None:
                return
            valid = block(2 * self.capacity, np.int64).reshape(self.capacity, 2)
            valid[: self.rows] = (FROM_EVER, UNTIL_EVER)
            self.valid = valid
        here = self.valid[self.rows : self.rows + len(new.vectors)]
        here[:] = (FROM_EVER, UNTIL_EVER) if new.valid is None else np.repeat(new.valid, new.counts, axis=0)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """What readers see of some columns, for as long as they look."""

    columns: Columns
    rows: int
    live_rows: int
    live_subjects: int
    dead: Flags | None
    """Shape (rows,); None: none is."""
    slack: float
    """An approximate score is off by no more."""
    subject_ids: Texts
    template_ids: Texts
    names: Texts | None
    scanner: faiss.IndexScalarQuantizer
    masks: MaskCache = field(default_factory=MaskCache)

    @property
    def halves(self) -> HalfVectors:
        """Shape (rows, d). Keep the segment for as long as you keep the rows."""
        return self.columns.halves[: self.rows]

    def subject_id(self, first_row: int) -> SubjectId:
        """The id of the subject whose first row this is."""
        return SubjectId(SUBJECT_IDS.unpack(self.subject_ids.piece(first_row)))

    def template_id(self, row: int) -> TemplateId:
        """The id of a row's template."""
        return TemplateId(TEMPLATE_IDS.unpack(self.template_ids.piece(row)))

    def name(self, first_row: int) -> str:
        """The display name of the subject whose first row this is."""
        return "" if self.names is None else NAMES.unpack(self.names.piece(first_row))

    def holds(self, first_row: int, subject_id: str) -> bool:
        """Whether a living subject of that id begins at this row."""
        if first_row >= self.rows or (self.dead is not None and self.dead[first_row]):
            return False
        return self.subject_ids.piece(first_row) == SUBJECT_IDS.pack(subject_id)

    def run(self, first_row: int) -> range:
        """All rows of the subject that begins at this row."""
        end = first_row + 1
        while end < self.rows and not self.subject_ids.piece(end):
            end += 1
        return range(first_row, end)

    @property
    def has_several(self) -> bool:
        """Whether a subject has more than one row; sometimes it had."""
        return self.columns.subjects != self.columns.rows

    def hit(self, row: int, score: float) -> Hit:
        """A row as an answer."""
        template_id = self.template_id(row)
        while not self.subject_ids.piece(row):
            row -= 1
        return Hit(self.subject_id(row), template_id, score, self.name(row))

    def told(self, rows: Places) -> Iterator[tuple[SubjectId, TemplateId, str]]:
        """Subject id, template id and display name of each row."""
        first_rows = self._first_rows(rows)
        subject_ids = SUBJECT_IDS.unpack_all(self.subject_ids, first_rows)
        template_ids = TEMPLATE_IDS.unpack_all(self.template_ids, rows)
        names = [""] * rows.size if self.names is None else NAMES.unpack_all(self.names, first_rows)
        return zip(cast("list[SubjectId]", subject_ids), cast("list[TemplateId]", template_ids), names, strict=True)

    def _first_rows(self, rows: Places) -> Places:
        if not self.has_several:
            return rows
        found = rows.copy()
        back = np.flatnonzero(~self.begins(found))
        while back.size:
            found[back] -= 1
            back = back[~self.begins(found[back])]
        return found

    def without(self, dead: Flags) -> NewRows:
        """Copies of the other rows, with what belongs to them.

        Args:
            dead: shape (rows,); whole subjects.
        """
        rows = np.flatnonzero(~dead)
        first = np.flatnonzero(~self.subject_ids.empty(rows))
        columns, starts = self.columns, rows[first]
        return NewRows(
            self.halves[rows],
            columns.deviation,
            np.diff(first, append=rows.size),
            self.subject_ids.taken(starts),
            self.hashes(starts),
            self.template_ids.taken(rows),
            None if self.names is None else self.names.taken(starts),
            tuple(columns.groups),
            None if columns.group_of is None else columns.group_of[starts].astype(np.int64),
            None if columns.valid is None else columns.valid[starts],
        )

    def first_rows(self) -> Places:
        """Where the subjects begin that are not dead."""
        first = self.begins(np.arange(self.rows))
        return np.flatnonzero(first if self.dead is None else first & ~self.dead)

    def hashes(self, first_rows: Places) -> Hashes:
        """Of the ids of the subjects that begin at these rows."""
        return hashes_of(SUBJECT_IDS.unpack_all(self.subject_ids, first_rows))

    def begins(self, rows: Places) -> Flags:
        """Which of the rows are the first of their subject."""
        return ~self.subject_ids.empty(rows)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Some rows of a segment in a row; or all of them, and which of them may be found."""

    segment: Segment
    mask: Mask | None
    """None: all."""
    first: int
    end: int

    @property
    def count(self) -> int:
        """How many may be found."""
        return self.end - self.first if self.mask is None else self.mask.count

    def nearest(self, probe: Vector, limit: int) -> tuple[Places, Approximate]:
        """The rows with the largest approximate scores.

        Args:
            probe: shape (d,).
            limit: so many rows, or all that there are if they are fewer.

        Returns:
            Rows of the segment, and their scores, which fall.
        """
        faiss.omp_set_num_threads(1)  # holds for the calling thread alone, and costs 0.2 us
        params = None if self.mask is None else self.mask.selection
        scanner = self.segment.scanner
        if (self.first, self.end) != (0, self.segment.rows):
            scanner = _scanner(self.segment.columns, self.first, self.end)
        scores, rows = scanner.search(probe[np.newaxis], min(limit, self.count), params=params)
        return (rows[0] + self.first if self.first else rows[0]), scores[0]


def segment_of(columns: Columns, dead: Flags | None = None) -> Segment:
    """What is in some columns now.

    Args:
        columns: whatever is appended to them later does not show.
        dead: shape (rows,): whom nobody may find any more; None: nobody.
    """
    rows, dimensions = columns.rows, columns.halves.shape[1]
    dead_rows = dead_subjects = 0
    subject_ids = columns.subject_ids.view()
    if dead is not None:
        gone = np.flatnonzero(dead)
        dead_rows, dead_subjects = gone.size, int((~subject_ids.empty(gone)).sum())
    return Segment(
        columns,
        rows,
        rows - dead_rows,
        columns.subjects - dead_subjects,
        dead,
        slack_of(dimensions, columns.deviation),
        subject_ids,
        columns.template_ids.view(),
        None if columns.names is None else columns.names.view(),
        _scanner(columns, 0, rows),
    )


def slack_of(dimensions: int, deviation: float) -> float:
    """How far an approximate score can be from the exact one: by float32 sums, and by what a row lacks of length 1.

    Source: |fl(x.y) - x.y| <= n u |x|.|y| / (1 - n u), for sums in any order: Higham, "Accuracy and Stability of
    Numerical Algorithms", 2nd ed., section 3.1; with the inequality of Cauchy and Schwarz.
    """
    return (dimensions + 8) * 2.0**-24 * (1.0 + deviation) * 1.01 + deviation


def _scanner(columns: Columns, first: int, end: int) -> faiss.IndexScalarQuantizer:
    # The codes of this quantizer are the float16 numbers themselves, so that it can read ours where they are. A view
    # has an owner to keep it alive; ours is the segment, and the empty one of an empty vector stands in for it.
    dimensions = columns.halves.shape[1]
    scanner = faiss.IndexScalarQuantizer(dimensions, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    codes = faiss.swig_ptr(columns.halves[first:].view(np.uint8).reshape(-1))
    view: Any = faiss.MaybeOwnedVectorUInt8
    empty = view()  # it must live through the call: what `owner` gives points into it
    scanner.codes = view.create_view(codes, (end - first) * dimensions * 2, empty.owner)
    scanner.ntotal = end - first
    return scanner


def _at_first_rows(texts: Packed, counts: Places) -> Packed:
    if (counts == 1).all():
        return texts
    lengths = np.zeros(int(counts.sum()), np.int64)
    lengths[np.cumsum(counts) - counts] = texts.lengths
    return Packed(texts.raw, lengths)


def _nothing(count: int) -> Packed:
    return Packed(np.empty(0, np.uint8), np.zeros(count, np.int64))
