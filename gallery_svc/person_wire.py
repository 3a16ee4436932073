"""Messages of persons across cameras to domain values and back: checks fields, and decides nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from gallery_svc.alert_wire import NameOf
from gallery_svc.joint_wire import joint_threshold_to_wire
from gallery_svc.persons.appearances import METHOD, Appearance, AppearanceQuestion, Appearances
from gallery_svc.persons.erasing import ErasedPerson
from gallery_svc.recording import Attempt
from gallery_svc.store.event_records import BodyNameRecord, PersonOfSighting
from gallery_svc.wire import optional, page_size_from, probe_from, request_id_from
from tessera.client import wire
from tessera.domain.default_collections import DEFAULT_COLLECTIONS
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import CollectionId, EventId, TrackletId, checked_id
from tessera.domain.observation import FaceOnBody
from tessera.v1 import matching_pb2, persons_pb2

MAX_CAMERAS = 256
_TOKEN_PARTS = 2


def person_collection_from(value: str) -> CollectionId:
    """A collection's id; empty: that of persons."""
    return CollectionId(checked_id("collection_id", value)) if value else DEFAULT_COLLECTIONS[Modality.PERSON]


def appearance_question(message: persons_pb2.FindAppearancesRequest) -> AppearanceQuestion:
    """Who is asked about, and where and when."""
    who = message.WhichOneof("who")
    if who is None:
        raise InvalidInputError("who", "nothing", "tracklet_id, event_id, person_id or probe")
    if len(message.camera_ids) > MAX_CAMERAS:
        raise InvalidInputError("camera_ids", f"{len(message.camera_ids)} cameras", f"at most {MAX_CAMERAS}")
    moments = {name: optional(message, name) for name in ("from", "until")}
    since, until = (
        wire.time_from_wire(moment, name) if moment is not None else None for name, moment in moments.items()
    )
    if since is not None and until is not None and until <= since:
        raise InvalidInputError("until", until.isoformat(), f"later than from, {since.isoformat()}")
    return AppearanceQuestion(
        collection_id=person_collection_from(message.collection_id),
        tracklet_id=TrackletId(checked_id("tracklet_id", message.tracklet_id)) if who == "tracklet_id" else None,
        event_id=EventId(checked_id("event_id", message.event_id)) if who == "event_id" else None,
        person_id=checked_id("person_id", message.person_id) if who == "person_id" else None,
        probe=probe_from(message.probe, "probe") if who == "probe" else None,
        since=since,
        until=until,
        camera_ids=frozenset(checked_id("camera_ids", camera_id) for camera_id in message.camera_ids),
        target_fmr=optional(message, "target_fmr"),
        page_size=page_size_from(message.page_size),
        after=_place_from(message.page_token),
    )


def appearance_attempt(message: persons_pb2.FindAppearancesRequest, caller: str) -> Attempt:
    """Who asks, for the record."""
    where = person_collection_from(message.collection_id)
    return Attempt(METHOD, caller, request_id_from(message.request_id) or "", where)


def appearances_response(
    answer: Appearances, name_of: NameOf, event_id_of: dict[str, str], *, with_score: bool
) -> persons_pb2.FindAppearancesResponse:
    """Where a person was; raw scores only where they were asked for."""
    last = answer.found[-1].look if answer.has_more and answer.found else None
    return persons_pb2.FindAppearancesResponse(
        appearances=[_appearance(one, name_of, event_id_of, with_score=with_score) for one in answer.found],
        next_page_token=f"{last.last_seen.isoformat()} {last.tracklet_id}" if last is not None else "",
        threshold=wire.threshold_to_wire(answer.threshold),
        looks_compared=answer.looks_compared,
        expected_false=answer.expected_false,
        kept_since=wire.time_to_wire(answer.kept_since),
        evidence_id=answer.evidence_id,
    )


def erased_response(erased: ErasedPerson) -> persons_pb2.ErasePersonResponse:
    """What went."""
    return persons_pb2.ErasePersonResponse(looks_erased=erased.looks, events_erased=erased.events)


def person_to_wire(person: PersonOfSighting | None, name_of: NameOf) -> matching_pb2.AnonymousPerson | None:
    """Who a body is taken for, as far as that may still be told."""
    now = datetime.now(UTC)
    if person is None or person.until <= now:
        return None
    return matching_pb2.AnonymousPerson(
        person_id=person.person_id,
        until=wire.time_to_wire(person.until),
        name=_name(person.name, name_of) if person.name is not None and person.name.until > now else None,
    )


def face_from_wire(message: matching_pb2.TrackletUpdate) -> FaceOnBody | None:
    """The face that was seen on a body."""
    if not message.HasField("face"):
        return None
    face = message.face
    return FaceOnBody(
        TrackletId(checked_id("face.tracklet_id", face.tracklet_id)), face.frames_together, face.frames_otherwise
    )


def _name(name: BodyNameRecord, name_of: NameOf) -> matching_pb2.BodyName:
    return matching_pb2.BodyName(
        collection_id=name.collection_id,
        subject_id=name.subject_id,
        display_name=name_of(name.collection_id, name.subject_id),
        basis=matching_pb2.BodyNameBasis.Value(f"BODY_NAME_BASIS_{name.basis.value}"),
        face_camera_id=name.face_camera_id,
        face_seen_at=wire.time_to_wire(name.face_seen_at),
        face_event_id=name.face_event_id,
        face_fpir=name.face_fpir,
        threshold=joint_threshold_to_wire(name.threshold) if name.threshold is not None else None,
        until=wire.time_to_wire(name.until),
    )


def _appearance(
    one: Appearance, name_of: NameOf, event_id_of: dict[str, str], *, with_score: bool
) -> persons_pb2.Appearance:
    look = one.look
    return persons_pb2.Appearance(
        tracklet_id=look.tracklet_id,
        event_id=event_id_of[look.tracklet_id],
        camera_id=look.camera_id,
        first_seen=wire.time_to_wire(look.first_seen),
        last_seen=wire.time_to_wire(look.last_seen),
        person=person_to_wire(one.person, name_of),
        basis=persons_pb2.AppearanceBasis.Value(f"APPEARANCE_BASIS_{one.basis.value}"),
        box=wire.box_to_wire(look.box),
        zones=look.zones,
        best_shot_id=look.best_shot_id,
        score=one.score if with_score else None,
    )


def _place_from(token: str) -> tuple[datetime, str] | None:
    """Where the last page ended; empty: the first page."""
    if not token:
        return None
    parts = token.split(" ")
    try:
        moment = datetime.fromisoformat(parts[0])
    except ValueError:
        parts = []
    if len(parts) != _TOKEN_PARTS or moment.tzinfo is None:
        raise InvalidInputError("page_token", token, "the token of the last answer")
    return moment, parts[1]
