"""The looks at persons of one collection, in this process's memory: found by tracklet, by person, and by appearance.

A copy of what the store keeps, and never more: whatever leaves there leaves here. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from gallery_svc.store.person_records import PersonLook
from tessera.domain.embedding import Vector
from tessera.domain.ids import CameraId, ModelId, TrackletId

_FIRST_ROWS = 64

FACTS = np.dtype([("first_s", "f8"), ("last_s", "f8"), ("since_s", "f8"), ("person", "i8"), ("camera", "i8")])
"""Of a look: when it was seen first and last, since when its person is known, in seconds since 1970; codes that are the
same for the same person, and for the same camera."""

Facts = npt.NDArray[np.void]
"""Of shape (n,) and type `FACTS`."""


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
        self._facts: Facts = np.zeros(0, FACTS)
        self._codes: dict[str, int] = {}
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

    @property
    def compared(self) -> Sequence[PersonLook]:
        """The n looks that can be compared, by row."""
        return self._by_row

    @property
    def facts(self) -> Facts:
        """What rules ask of them, by row; to be read before anything changes."""
        return self._facts[: len(self._by_row)]

    @property
    def vectors(self) -> npt.NDArray[np.float32]:
        """Their embeddings, by row: float32, shape (n, d); to be read before anything changes."""
        return self._vectors[: len(self._by_row)]

    def scores(self, vector: Vector) -> Vector:
        """How alike each is to a vector of this model: float32, shape (n,), by row."""
        return self._vectors[: len(self._by_row)] @ vector if self._by_row else np.zeros(0, np.float32)

    def row_of(self, tracklet_id: TrackletId) -> int:
        """The row of a tracklet's look; -1: it is not compared."""
        return self._row_of.get(tracklet_id, -1)

    def camera_code(self, camera_id: CameraId) -> int:
        """Stands for a camera in `facts`."""
        return self._codes.setdefault(f"camera {camera_id}", len(self._codes))

    def _add_row(self, look: PersonLook) -> None:
        row = len(self._by_row)
        if self._vectors.shape[1] != look.vector.size:
            if row:  # of a length that this model's embeddings do not have
                return
            self._vectors = np.zeros((_FIRST_ROWS, look.vector.size), np.float32)
            self._facts = np.zeros(_FIRST_ROWS, FACTS)
        if row == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
            self._facts = np.concatenate([self._facts, np.zeros_like(self._facts)])
        self._vectors[row] = look.vector
        self._facts[row] = (
            look.first_seen.timestamp(),
            look.last_seen.timestamp(),
            look.person_since.timestamp(),
            self._codes.setdefault(look.person_id, len(self._codes)),
            self.camera_code(look.camera_id),
        )
        self._by_row.append(look)
        self._row_of[look.tracklet_id] = row

    def _drop_row(self, tracklet_id: TrackletId) -> None:
        row = self._row_of.pop(tracklet_id, None)
        if row is None:
            return
        last = self._by_row.pop()
        at = len(self._by_row)
        if row < at:
            self._by_row[row], self._facts[row] = last, self._facts[at]
            self._vectors[row] = self._vectors[at]
            self._row_of[last.tracklet_id] = row
        self._vectors[at] = 0.0
