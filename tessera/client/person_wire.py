"""Answers about persons across cameras, read from their messages."""

from __future__ import annotations

from tessera.client import wire
from tessera.client.optional_fields import box_of, time_of
from tessera.client.person_values import (
    AnonymousPerson,
    Appearance,
    AppearanceBasis,
    AppearancePage,
    BodyName,
    BodyNameBasis,
)
from tessera.domain.ids import ModelId
from tessera.v1 import matching_pb2, persons_pb2


def page_from_wire(message: persons_pb2.FindAppearancesResponse) -> AppearancePage:
    """One page of an answer."""
    return AppearancePage(
        appearances=tuple(_appearance(one) for one in message.appearances),
        next_page_token=message.next_page_token,
        threshold=wire.threshold_from_wire(message.threshold, ModelId("")) if message.HasField("threshold") else None,
        looks_compared=message.looks_compared,
        expected_false=message.expected_false,
        kept_since=time_of(message, "kept_since"),
        evidence_id=message.evidence_id,
    )


def person_from_wire(message: matching_pb2.AnonymousPerson) -> AnonymousPerson:
    """Who a body is taken for."""
    name = _name(message.name) if message.HasField("name") else None
    return AnonymousPerson(message.person_id, time_of(message, "until"), name)


def _name(message: matching_pb2.BodyName) -> BodyName:
    basis = wire.enum_name(matching_pb2.BodyNameBasis, message.basis, "BODY_NAME_BASIS_")
    return BodyName(
        collection_id=message.collection_id,
        subject_id=message.subject_id,
        display_name=message.display_name,
        basis=BodyNameBasis.__members__.get(basis),
        face_camera_id=message.face_camera_id,
        face_seen_at=time_of(message, "face_seen_at"),
        face_event_id=message.face_event_id,
        face_fpir=message.face_fpir,
        until=time_of(message, "until"),
        target_fmr=message.threshold.target_fmr if message.HasField("threshold") else None,
    )


def _appearance(message: persons_pb2.Appearance) -> Appearance:
    basis = wire.enum_name(persons_pb2.AppearanceBasis, message.basis, "APPEARANCE_BASIS_")
    return Appearance(
        tracklet_id=message.tracklet_id,
        event_id=message.event_id,
        camera_id=message.camera_id,
        first_seen=wire.time_from_wire(message.first_seen),
        last_seen=wire.time_from_wire(message.last_seen),
        person=person_from_wire(message.person) if message.HasField("person") else None,
        basis=AppearanceBasis.__members__.get(basis),
        box=box_of(message, "box"),
        zones=tuple(message.zones),
        best_shot_id=message.best_shot_id,
        score=message.score if message.HasField("score") else None,
    )
