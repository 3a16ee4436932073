"""The looks at persons of one collection, in this process's memory: found by tracklet, by person, and by appearance.

A copy of what the store keeps, and never more: whatever leaves there leaves here. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from gallery_svc.store.person_records import PersonLook
from tessera.domain.embedding import Vector
from tessera.domain.ids import ModelId, TrackletId

_FIRST_ROWS = 64


class Looks:
    """The looks of one model; those of others are known by their ids, and compared with nothing.

    Args:
        model_id: whose embeddings are compared.
    """

    def __init__(self, model_id: ModelId) -> None:
        self.model_id = model_id
        self._known: dict[TrackletId, PersonLook | None] = {}
        self._row_of: dict[TrackletId, int] = {}
        self._by_row: list[PersonLook] = []
        self._vectors: npt.NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._by_person: dict[str, dict[TrackletId, PersonLook]] = {}

    def __len__(self) -> int:
        """All of them, of whichever model."""
        return len(self._known)

    @property
    def tracklet_ids(self) -> frozenset[TrackletId]:
        """Of which tracklets there is one."""
        return frozenset(self._known)

    @property
    def person_count(self) -> int:
        """Anonymous persons that they are of."""
        return len(self._by_person)

    def find(self, tracklet_id: TrackletId) -> PersonLook | None:
        """The look at a tracklet."""
        return self._known.get(tracklet_id)

    def of_person(self, person_id: str) -> tuple[PersonLook, ...]:
        """The looks at one person, by when they were seen first."""
        return tuple(sorted(self._by_person.get(person_id, {}).values(), key=lambda look: look.first_seen))

    def all(self) -> Iterable[PersonLook]:
        """Each that can be read."""
        return (look for look in self._known.values() if look is not None)

    def put(self, tracklet_id: TrackletId, look: PersonLook | None) -> None:
        """Have a look as it is now; None: it is there, and cannot be read."""
        self.drop([tracklet_id])
        self._known[tracklet_id] = look
        if look is None:
            return
        self._by_person.setdefault(look.person_id, {})[tracklet_id] = look
        if look.model_id == self.model_id:
            self._add_row(look)

    def drop(self, tracklet_ids: Iterable[TrackletId]) -> None:
        """Let go of some; their vectors are overwritten."""
        for tracklet_id in list(tracklet_ids):
            look = self._known.pop(tracklet_id, None)
            if look is None:
                continue
            same = self._by_person[look.person_id]
            del same[tracklet_id]
            if not same:
                del self._by_person[look.person_id]
            self._drop_row(tracklet_id)

    def seen_before(self, moment: datetime) -> list[PersonLook]:
        """Those that were seen before a moment."""
        return [look for look in self.all() if look.seen_at < moment]

    def alike(self, vector: Vector, wanted: Callable[[PersonLook], bool]) -> tuple[Sequence[PersonLook], Vector]:
        """How alike each look is that is wanted.

        Args:
            vector: float32, shape (d,), of length 1, of this model.
            wanted: says which looks are compared.

        Returns:
            The n looks, and float32 of shape (n,): their scores.
        """
        rows = [row for row, look in enumerate(self._by_row) if wanted(look)]
        if not rows:
            return (), np.zeros(0, np.float32)
        return [self._by_row[row] for row in rows], self._vectors[rows] @ vector

    def _add_row(self, look: PersonLook) -> None:
        row = len(self._by_row)
        if self._vectors.shape[1] != look.vector.size:
            if row:  # of a length that this model's embeddings do not have
                return
            self._vectors = np.zeros((_FIRST_ROWS, look.vector.size), np.float32)
        if row == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
        self._vectors[row] = look.vector
        self._by_row.append(look)
        self._row_of[look.tracklet_id] = row

    def _drop_row(self, tracklet_id: TrackletId) -> None:
        row = self._row_of.pop(tracklet_id, None)
        if row is None:
            return
        last = self._by_row.pop()
        if row < len(self._by_row):
            self._by_row[row] = last
            self._vectors[row] = self._vectors[len(self._by_row)]
            self._row_of[last.tracklet_id] = row
        self._vectors[len(self._by_row)] = 0.0
