"""Somebody asks for an anonymous person to be erased: put on record, then done."""

from __future__ import annotations

from gallery_svc.persons.appearances import require_persons
from gallery_svc.persons.erasing import ErasedPerson, PersonEraser
from gallery_svc.recording import Attempt, Recorder
from gallery_svc.replica import Replica
from tessera.domain.ids import CollectionId, SubjectId

METHOD = "ErasePerson"


class ErasureCalls:
    """Takes calls.

    Args:
        replica: the collections.
        eraser: erases.
        recorder: puts calls on record.
    """

    def __init__(self, replica: Replica, eraser: PersonEraser, recorder: Recorder) -> None:
        self._replica = replica
        self._eraser = eraser
        self._recorder = recorder

    async def erase(self, collection_id: CollectionId, person_id: str, request_id: str, caller: str) -> ErasedPerson:
        """Erase a person; one that is not there is erased already.

        Raises:
            NotFoundError: the collection does not exist.
            InvalidInputError: it is not of persons.
            UnavailableError: the store is away; the same call again goes on.
        """
        record = (await self._replica.collection(collection_id)).record
        require_persons(record)
        await self._recorder.record_question(Attempt(METHOD, caller, request_id, collection_id), SubjectId(person_id))
        return await self._eraser.erase(record, person_id)
