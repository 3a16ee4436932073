"""The deployment's own templates as labelled samples: what a calibration from one's own gallery is measured on.

All pairs of templates of different subjects are non-mated, as far as the list of people is right: a person who is
enrolled twice makes the measured FMR too high, which errs on the safe side and is what the duplicate check is for.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

import numpy as np

from gallery_svc.comparing import Draw
from gallery_svc.store.protocol import Store
from tessera.chassis.tasks import ended
from tessera.domain.embedding import Vectors
from tessera.domain.errors import InvalidInputError, NotFoundError
from tessera.domain.fitting import LabelledScores
from tessera.domain.ids import CollectionId, ModelId

MAX_SUBJECTS = 6000
"""Drawn from a larger collection: some 18 million pairs, and a minute of one core."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSamples:
    """Embeddings, and whose they are."""

    vectors: Vectors
    """Shape (n, d), unit rows."""
    subjects: tuple[str, ...]
    """One for each row."""
    model_id: ModelId
    name: str
    digest: str


@dataclass(frozen=True, slots=True, eq=False)
class GivenScores:
    """Scores that were measured elsewhere."""

    scores: LabelledScores
    name: str
    digest: str


class OwnSamples:
    """Reads templates out of collections.

    Args:
        store: where they are.
        max_subjects: drawn from a larger collection, the same ones each time.
    """

    def __init__(self, store: Store, max_subjects: int = MAX_SUBJECTS) -> None:
        self._store = store
        self._max_subjects = max_subjects

    async def of_collection(self, collection_id: CollectionId) -> LabelledSamples:
        """The templates of a collection's active model.

        Raises:
            NotFoundError: it does not exist.
            InvalidInputError: it has no two subjects.
        """
        record = await self._store.find_collection(collection_id)
        if record is None:
            raise NotFoundError("collection", collection_id)
        draw = Draw(self._max_subjects, record.generation)
        for shard in range(record.shards):
            async for batch in self._store.load_rows(collection_id, shard, record.active_epoch):
                await ended(asyncio.to_thread(draw.offer, batch))
        draw.settle()
        names = sorted(draw.drawn)
        rows = [(name, template) for name in names for template in sorted(draw.drawn[name])]
        if len(names) < 2:
            raise InvalidInputError("collection_id", collection_id, "a collection of two subjects or more")
        digest = hashlib.sha256()
        for name, template in rows:
            digest.update(f"{name}/{template}\n".encode())
        vectors = np.array([draw.drawn[name][template] for name, template in rows], dtype=np.float32)
        return LabelledSamples(
            vectors=vectors / np.maximum(1e-12, np.linalg.norm(vectors, axis=-1, keepdims=True)),
            subjects=tuple(name for name, _ in rows),
            model_id=record.model_id,
            name=f"collection {collection_id}, {len(names)} subjects",
            digest=digest.hexdigest(),
        )
