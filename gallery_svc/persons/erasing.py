"""The end of an anonymous person: every look at it and every sighting of it, since somebody asked, or its time is over.

Whose face is erased is erased with the bodies on which that face was seen, and with all that was taken for the same
person: an embedding of clothes is of the person too.
"""

from __future__ import annotations

from dataclasses import dataclass

from gallery_svc.persons.keeping import LookKeeper
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.event_records import SightingBody
from gallery_svc.store.protocol import Store
from tessera.chassis.logs import get_logger
from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId, SubjectId

_PERSONS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class ErasedPerson:
    """What went."""

    looks: int
    events: int
    """Revisions of sightings."""


class PersonEraser:
    """Erases anonymous persons.

    Args:
        store: where their sightings are kept.
        keeper: keeps the looks.
    """

    def __init__(self, store: Store, keeper: LookKeeper) -> None:
        self._store = store
        self._keeper = keeper

    async def erase(self, record: CollectionRecord, person_id: str) -> ErasedPerson:
        """Erase a person; one that is not there counts 0.

        Raises:
            UnavailableError: the store is away; the same call again goes on.
        """
        looks = await self._keeper.looks(record)
        ids = [look.tracklet_id for look in looks.of_person(person_id)]
        dropped = await self._keeper.drop(record.collection_id, ids, "ERASED")
        events = await self._erase_events(record.collection_id, person_id)
        if dropped or events:
            get_logger().info("person.erased", collection=record.collection_id, looks=dropped, events=events)
        return ErasedPerson(dropped, events)

    async def erase_bodies_of(self, collection_id: CollectionId, subject_id: SubjectId) -> int:
        """Erase the bodies that a subject's face gives a name to, in every collection; before its sightings go.

        Returns:
            How many looks went.

        Raises:
            UnavailableError: the store is away; the same call again goes on.
        """
        told = [event.event.body for event in await self._store.events_naming(collection_id, subject_id)]
        sightings = [body for body in told if isinstance(body, SightingBody)]
        faces = {body.tracklet_id for body in sightings if body.person is None}
        persons = {(body.collection_id, body.person.person_id) for body in sightings if body.person is not None}
        if not faces and not persons:
            return 0
        dropped = 0
        for record in await self._store.list_collections():
            if record.modality is not Modality.PERSON:
                continue
            looks = await self._keeper.looks(record)
            on_body = {look.person_id for look in looks.all() if look.face and look.face.tracklet_id in faces}
            named = {person_id for where, person_id in persons if where == record.collection_id}
            for person_id in sorted(on_body | named):
                dropped += (await self.erase(record, person_id)).looks
        return dropped

    async def sweep(self, record: CollectionRecord) -> ErasedPerson:
        """Erase what a collection has kept for long enough.

        Raises:
            UnavailableError: the store is away; the next sweep goes on.
        """
        dropped = await self._keeper.drop_expired(record)
        since, events = self._keeper.kept_since(record), 0
        while over := await self._store.persons_seen_before(record.collection_id, since, _PERSONS_AT_ONCE):
            for person_id in over:
                events += await self._erase_events(record.collection_id, person_id)
        return ErasedPerson(dropped, events)

    async def _erase_events(self, collection_id: CollectionId, person_id: str) -> int:
        events = await self._store.erase_events(collection_id, SubjectId(person_id))
        await self._store.forget_person(collection_id, person_id)
        return events
