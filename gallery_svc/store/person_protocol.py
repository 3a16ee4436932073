"""What the store promises for looks at persons; a part of `Store`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from gallery_svc.store.person_records import LookChanges, PersonLook
from tessera.domain.ids import CollectionId, TrackletId

MAX_LOOKS = 16_384
"""Looks that are kept of one collection; past that the one that was seen longest ago goes for the next."""


class PersonStore(Protocol):
    """Looks at persons, sealed like templates, each gone with its time; raises what `Store` raises.

    They are no part of a collection's change log, its counts or its exports.
    """

    async def put_look(self, look: PersonLook, until: datetime) -> None:
        """Write a look; the one of the same tracklet that was there before goes.

        Args:
            look: of a tracklet.
            until: the store lets go of it by then at the latest, also when no gallery is there to remove it; whatever
                is written later may make this later, never earlier.

        Raises:
            NotFoundError: the collection does not exist.
        """
        ...

    async def looks_after(self, collection_id: CollectionId, sequence: int, limit: int) -> LookChanges:
        """The looks that were written after a sequence, oldest first.

        Raises:
            NotFoundError: the collection does not exist.
        """
        ...

    async def look_ids(self, collection_id: CollectionId) -> frozenset[TrackletId]:
        """Of which tracklets a look is kept.

        Raises:
            NotFoundError: the collection does not exist.
        """
        ...

    async def drop_looks(self, collection_id: CollectionId, tracklet_ids: Sequence[TrackletId]) -> int:
        """Remove looks; those that are not there count 0.

        Returns:
            How many went.
        """
        ...

    async def drop_looks_seen_before(self, collection_id: CollectionId, moment: datetime) -> int:
        """Remove the looks that were seen before a moment; returns how many went."""
        ...

    async def persons_seen_before(self, collection_id: CollectionId, moment: datetime, limit: int) -> list[str]:
        """Anonymous ids that no look after a moment has had, and that were not forgotten yet."""
        ...

    async def forget_person(self, collection_id: CollectionId, person_id: str) -> None:
        """Nothing is left to be erased of an anonymous id."""
        ...
