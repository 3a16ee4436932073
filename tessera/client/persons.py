"""Persons across cameras: where else somebody was, and the end of an anonymous person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tessera.client import wire
from tessera.client.connection import Connection
from tessera.client.person_values import AppearancePage, ErasedPerson
from tessera.client.person_wire import page_from_wire
from tessera.client.samples import Sample, new_id, probe_of
from tessera.domain.errors import InvalidInputError
from tessera.v1 import persons_pb2, persons_pb2_grpc


class Persons(Connection):
    """Questions about persons to the gallery."""

    def appearances(
        self,
        *,
        tracklet_id: str = "",
        event_id: str = "",
        person_id: str = "",
        image: Sample | None = None,
        model_id: str = "",
        collection_id: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        camera_ids: Sequence[str] = (),
        target_fmr: float | None = None,
        with_score: bool = False,
        page_size: int = 0,
        page_token: str = "",
        request_id: str = "",
    ) -> AppearancePage:
        """Ask where else a person was: one page, newest first.

        Args:
            tracklet_id: of a sighting of the person; exactly one of this and the next three is given.
            event_id: the sighting itself.
            person_id: as sightings have it.
            image: a picture with one person, or the embedding of one.
            model_id: who made it, when `image` is a bare array.
            collection_id: of persons; empty: the collection "persons".
            since: seen at or after this moment.
            until: seen before this moment.
            camera_ids: only of these; empty: of all cameras.
            target_fmr: of looks at other people, so many may be shown; in (0, 1); None: the collection's policy.
            with_score: ask for the raw scores too.
            page_size: 1 to 1000; 0: 100.
            page_token: of the page before; empty: the first page.
            request_id: names the question in the audit log; empty: a new one.

        Raises:
            NotFound: no such collection, or nothing is kept of the person (any more).
            NotAllowedNow: the calibration cannot keep the rate, or the embedding is of another model.
            BadInput: the collection is not of persons, or a value is out of range.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        given = [name for name, value in _who(tracklet_id, event_id, person_id, image) if value]
        if len(given) != 1:
            allowed = "exactly one of tracklet_id, event_id, person_id and image"
            raise InvalidInputError("who", ", ".join(given) or "nothing", allowed)
        request = persons_pb2.FindAppearancesRequest(
            collection_id=collection_id,
            probe=probe_of(image, model_id) if image is not None else None,
            until=wire.time_to_wire(until) if until is not None else None,
            camera_ids=camera_ids,
            target_fmr=target_fmr,
            with_score=with_score,
            page_size=page_size,
            page_token=page_token,
            request_id=request_id or new_id(),
        )
        for name, value in (("tracklet_id", tracklet_id), ("event_id", event_id), ("person_id", person_id)):
            if value:
                setattr(request, name, value)
        if since is not None:
            getattr(request, "from").CopyFrom(wire.time_to_wire(since))
        return page_from_wire(self._gallery.call(self._persons.FindAppearances, request))

    def erase_person(self, person_id: str, *, collection_id: str = "", request_id: str = "") -> ErasedPerson:
        """Erase an anonymous person: every look at it, and its sightings. One that is not there is erased already.

        Args:
            person_id: as sightings have it.
            collection_id: of persons; empty: the collection "persons".
            request_id: names the request in the audit log; empty: a new one.

        Raises:
            NotFound: no such collection.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = persons_pb2.ErasePersonRequest(
            collection_id=collection_id, person_id=person_id, request_id=request_id or new_id()
        )
        answer = self._gallery.settle(self._persons.ErasePerson, request)
        return ErasedPerson(answer.looks_erased, answer.events_erased)

    @property
    def _persons(self) -> persons_pb2_grpc.PersonServiceStub:
        return persons_pb2_grpc.PersonServiceStub(self._endpoints["gallery"].channel)


def _who(tracklet_id: str, event_id: str, person_id: str, image: Sample | None) -> tuple[tuple[str, bool], ...]:
    return (
        ("tracklet_id", bool(tracklet_id)),
        ("event_id", bool(event_id)),
        ("person_id", bool(person_id)),
        ("image", image is not None),
    )
