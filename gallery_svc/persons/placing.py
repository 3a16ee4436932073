"""A person's tracklet on its way to an answer: a look at it is kept, it gets its anonymous person, and a face's name.

The look is written when something of it changed that others must know, and at its end; not with each frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.persons.identities import Identities
from gallery_svc.persons.keeping import LookKeeper
from gallery_svc.persons.naming import BodyNames
from gallery_svc.persons.rejudging import Rejudging
from gallery_svc.rows import half
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.event_records import BodyNameRecord, PersonOfSighting
from gallery_svc.store.person_records import PersonLook
from tessera.chassis.clock import Clock
from tessera.client.stream_values import TrackletSample, TrackletUpdate
from tessera.domain.embedding import Vector
from tessera.domain.fusion import frame_weights
from tessera.domain.ids import ModelId
from tessera.domain.observation import Box

WRITTEN_EVERY_S = 5.0
"""A look that only grew is written again after so long."""


@dataclass(frozen=True, slots=True, eq=False)
class MeanLook:
    """The mean of a tracklet's embeddings, as it is."""

    vector: Vector
    """float32, shape (d,), of length 1 at most: the less, the less its samples are alike. The product of two is the
    mean of all comparisons between their samples."""
    model_id: ModelId

    @classmethod
    def of(cls, samples: Sequence[TrackletSample]) -> MeanLook:
        """Of one sample or more, each weighed by its quality.

        Raises:
            InvalidInputError: a measure of one is outside [0, 1].
        """
        weights = np.asarray(frame_weights([sample.quality for sample in samples]))
        vectors = np.stack([sample.embedding.vector for sample in samples])
        mean = (weights[:, None] * vectors).sum(axis=0) / weights.sum()
        return cls(mean.astype(np.float32), samples[0].embedding.model_id)


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """What is known of a tracklet by now."""

    update: TrackletUpdate
    mean: MeanLook | None
    """Of its samples; None: they were before a restart."""
    box: Box
    """Where it was seen best."""


class PersonPlacing:
    """Keeps looks, and says who they are of.

    Args:
        keeper: keeps them.
        identities: says whose they are.
        names: says what faces call them.
        rejudging: says it again when more is known.
        clock: for their time.
        metrics: where it counts.
    """

    def __init__(
        self,
        *,
        keeper: LookKeeper,
        identities: Identities,
        names: BodyNames,
        rejudging: Rejudging,
        clock: Clock,
        metrics: GalleryMetrics,
    ) -> None:
        self._keeper = keeper
        self._identities = identities
        self._names = names
        self._rejudging = rejudging
        self._clock = clock
        self._metrics = metrics

    async def place(
        self, glance: Glance, before: PersonOfSighting | None, record: CollectionRecord
    ) -> PersonOfSighting | None:
        """Who a tracklet is taken for.

        Args:
            glance: what is known of it.
            before: who it was taken for.
            record: of its collection.

        Returns:
            None: nothing is known of how it looks, or its time is over.

        Raises:
            NotFoundError: the collection does not exist.
            UnavailableError: the store is away.
        """
        looks = await self._keeper.looks(record)
        known = looks.find(glance.update.tracklet_id)
        look = self._look(glance, known, record)
        if look is None:
            return before
        if self._keeper.until(look, record) <= self._clock.now():  # it came too late to be kept
            return None
        if glance.mean is not None:
            person = self._identities.person_of(look, looks, record)
            look = replace(look, person_id=person.person_id, person_since=person.since)
        if known is None or glance.update.ended or _is_worth_writing(known, look):
            await self._keeper.put(record, look)
        name = await self._names.name_of(look, looks, record)
        self._count(before.name if before is not None else None, name)
        return PersonOfSighting(look.person_id, self._keeper.until(look, record), name)

    async def rejudge(self, record: CollectionRecord) -> list[tuple[PersonLook, PersonOfSighting]]:
        """Judge anew who the looks of a collection are of, and keep what came of it.

        Returns:
            The looks that are of another person than they were taken for, with that.

        Raises:
            NotFoundError: the collection does not exist.
            UnavailableError: the store is away.
        """
        looks = await self._keeper.looks(record)
        told: list[tuple[PersonLook, PersonOfSighting]] = []
        changed = self._rejudging.changed(looks, record)
        for look in changed:
            await self._keeper.put(record, look)
        for look in changed:
            name = await self._names.name_of(look, looks, record)
            told.append((look, PersonOfSighting(look.person_id, self._keeper.until(look, record), name)))
        self._metrics.person_rejudged.inc(len(changed))
        return told

    def _look(self, glance: Glance, known: PersonLook | None, record: CollectionRecord) -> PersonLook | None:
        update = glance.update
        seen_at = min(update.last_seen, self._clock.now())
        if glance.mean is None:
            if known is None:
                return None
            return replace(known, last_seen=update.last_seen, seen_at=seen_at, face=update.face or known.face)
        return PersonLook(
            collection_id=record.collection_id,
            tracklet_id=update.tracklet_id,
            camera_id=update.camera_id,
            person_id=known.person_id if known is not None else "",
            person_since=known.person_since if known is not None else update.first_seen,
            model_id=glance.mean.model_id,
            first_seen=update.first_seen,
            last_seen=update.last_seen,
            seen_at=seen_at,
            vector=half(glance.mean.vector),
            box=glance.box,
            best_shot_id=update.best_shot_id,
            zones=update.zones,
            face=update.face or (known.face if known is not None else None),
        )

    def _count(self, before: BodyNameRecord | None, name: BodyNameRecord | None) -> None:
        if name is not None and (before is None or (before.who, before.basis) != (name.who, name.basis)):
            self._metrics.body_names.labels(name.basis.value).inc()


def _is_worth_writing(known: PersonLook, look: PersonLook) -> bool:
    is_other = (known.person_id, known.zones, known.best_shot_id) != (look.person_id, look.zones, look.best_shot_id)
    has_other_face = (known.face is None) != (look.face is None) or (
        known.face is not None and look.face is not None and known.face.tracklet_id != look.face.tracklet_id
    )
    return is_other or has_other_face or (look.last_seen - known.last_seen).total_seconds() >= WRITTEN_EVERY_S
