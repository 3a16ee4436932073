"""`PersonService`: persons across cameras; each method translates, delegates, translates back."""

from __future__ import annotations

from typing import Any

import grpc

from gallery_svc import person_wire
from gallery_svc.ids import sighting_event_id
from gallery_svc.persons.appearances import PersonFinder
from gallery_svc.persons.erasure_calls import ErasureCalls
from gallery_svc.probes import Deadline
from gallery_svc.replica import Replica
from gallery_svc.wire import request_id_from
from tessera.chassis.clock import Clock
from tessera.domain.ids import checked_id
from tessera.v1 import persons_pb2, persons_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class PersonServicer(persons_pb2_grpc.PersonServiceServicer):
    """Persons across cameras.

    Args:
        finder: says where somebody was.
        erasures: erase anonymous persons.
        replica: knows subjects' names.
        clock: for deadlines.
        max_deadline_s: no call has longer.
    """

    def __init__(
        self, finder: PersonFinder, erasures: ErasureCalls, replica: Replica, clock: Clock, max_deadline_s: float
    ) -> None:
        self._finder = finder
        self._erasures = erasures
        self._replica = replica
        self._clock = clock
        self._max_deadline_s = max_deadline_s

    async def FindAppearances(
        self, request: persons_pb2.FindAppearancesRequest, context: Context
    ) -> persons_pb2.FindAppearancesResponse:
        """Where else a person was."""
        question = person_wire.appearance_question(request)
        attempt = person_wire.appearance_attempt(request, context.peer())
        answer = await self._finder.find(question, attempt, self._deadline(context))
        event_ids: dict[str, str] = {}
        for one in answer.found:
            event_ids[one.look.tracklet_id] = sighting_event_id(one.look.tracklet_id)
        return person_wire.appearances_response(answer, self._replica.name_of, event_ids, with_score=request.with_score)

    async def ErasePerson(
        self, request: persons_pb2.ErasePersonRequest, context: Context
    ) -> persons_pb2.ErasePersonResponse:
        """Erase an anonymous person."""
        erased = await self._erasures.erase(
            person_wire.person_collection_from(request.collection_id),
            checked_id("person_id", request.person_id),
            request_id_from(request.request_id) or "",
            context.peer(),
        )
        return person_wire.erased_response(erased)

    def _deadline(self, context: Context) -> Deadline:
        remaining_s = context.time_remaining()
        return Deadline(
            self._clock, self._max_deadline_s if remaining_s is None else min(remaining_s, self._max_deadline_s)
        )
