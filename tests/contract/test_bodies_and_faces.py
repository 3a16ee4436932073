"""A face names the body it was seen on, and the same body on the next camera: never as a match, never for longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from google.protobuf import field_mask_pb2

from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import collection_pb2, matching_pb2, subject_pb2
from tests.body_world import body, face, on_body, running_person_world, see, seen_ids, told, where
from tests.eventually import eventually
from tests.gallery_world import World, embedded, enroll, person, refused

ADA, STRANGER = 0, 20


@pytest.fixture
async def world(store: str) -> AsyncIterator[World]:
    """A gallery that knows Ada's face, over each store."""
    async with running_person_world(store) as running:
        yield running


async def test_a_face_names_the_body_that_the_next_camera_sees(world: World) -> None:
    """The first body by its own face, the second by its likeness to the first; both stay UNKNOWN as bodies."""
    at_door, own, linked = await see(
        world,
        face("f1", ADA),
        body("t1", 3, face=on_body("f1"), seen_s=(60, 50)),
        body("t2", 3, camera="hall"),
    )
    assert (at_door.decision.outcome, at_door.subject_id) == (pb.OUTCOME_MATCH, "ada")
    assert (own.decision.outcome, own.subject_id) == (pb.OUTCOME_UNKNOWN, "")
    assert (own.person.name.subject_id, own.person.name.basis) == ("ada", matching_pb2.BODY_NAME_BASIS_OWN_FACE)
    name = linked.person.name
    assert (linked.decision.outcome, name.basis) == (pb.OUTCOME_UNKNOWN, matching_pb2.BODY_NAME_BASIS_BODY_LINK)
    assert (name.subject_id, name.display_name, name.collection_id) == ("ada", "Ada", "default")
    assert (name.face_camera_id, name.face_event_id) == ("door", at_door.event_id)
    assert (name.threshold.target_fmr, name.face_fpir) == (1e-4, pytest.approx(0.01, rel=0.5))
    assert name.until == own.person.until
    found = {
        one.tracklet_id: one.person.name.display_name for one in (await where(world, tracklet_id="t2")).appearances
    }
    assert found == {"t1": "Ada", "t2": "Ada"}


def between(one: int, other: int, score: float) -> list[float]:
    """A vector with this score to one of two people."""
    vector = score * np.array(person(one, 0.0)) + np.sqrt(1 - score**2) * np.array(person(other, 0.0))
    return [float(value) for value in vector]


def looking(update: matching_pb2.TrackletUpdate, vector: list[float], *reasons: pb.Reason) -> Any:
    """The update with other samples."""
    for sample in update.samples:
        sample.embedding.values[:] = vector
        sample.quality.reasons.extend(reasons)
    return update


async def test_a_likeness_below_the_rate_gives_no_name(world: World) -> None:
    """Enough for one anonymous person at FPIR 1e-2, too little for a name at FMR 1e-4."""
    _, own, linked = await see(
        world,
        face("f1", ADA),
        body("t1", 3, off=0.0, face=on_body("f1"), seen_s=(60, 50)),
        looking(body("t2", 3, camera="hall"), between(3, 9, 0.45)),
    )
    assert linked.person.person_id == own.person.person_id
    assert not linked.person.HasField("name")


async def test_a_poor_face_of_its_own_is_added_to_the_evidence(world: World) -> None:
    """The same likeness with a blurred face that decides nothing alone, but speaks for her, is enough together."""
    await world.stub.UpdateCollection(
        collection_pb2.UpdateCollectionRequest(
            collection=collection_pb2.Collection(policy=collection_pb2.DecisionPolicy(identify_target_fpir=1e-3)),
            update_mask=field_mask_pb2.FieldMask(paths=["policy"]),
        )
    )
    _, undecided, _, linked = await see(
        world,
        face("f1", ADA),
        looking(face("f2", ADA, camera="hall"), between(ADA, 9, 0.38), pb.REASON_LOW_SHARPNESS),
        body("t1", 3, off=0.0, face=on_body("f1"), seen_s=(60, 50)),
        looking(body("t2", 3, camera="hall", face=on_body("f2")), between(3, 9, 0.45)),
    )
    assert undecided.decision.outcome == pb.OUTCOME_INCONCLUSIVE
    assert linked.person.name.subject_id == "ada"
    assert linked.person.name.threshold.fmr_basis == matching_pb2.FMR_BASIS_INDEPENDENT_PIECES


async def test_a_face_that_says_otherwise_takes_the_name_away(world: World) -> None:
    """The body on the next camera has a face of its own, and it is nobody who is enrolled."""
    *_, linked = await see(
        world,
        face("f1", ADA),
        face("f2", STRANGER, camera="hall"),
        body("t1", 3, face=on_body("f1"), seen_s=(60, 50)),
        body("t2", 3, camera="hall", face=on_body("f2")),
    )
    assert not linked.person.HasField("name")


async def test_faces_of_two_people_under_one_id_name_nobody(world: World) -> None:
    """Who is dressed alike was taken for one: each keeps what its own face says, and nobody else is named."""
    await enroll(world, "bob", embedded(person(5)), display_name="Bob")
    *_, first, second, third = await see(
        world,
        face("f1", ADA),
        face("f2", 5, camera="hall"),
        body("t1", 3, face=on_body("f1"), seen_s=(90, 80)),
        body("t2", 3, camera="hall", face=on_body("f2"), seen_s=(60, 50)),
        body("t3", 3, camera="gate"),
    )
    assert first.person.person_id == second.person.person_id == third.person.person_id
    assert (first.person.name.subject_id, second.person.name.subject_id) == ("ada", "bob")
    assert not third.person.HasField("name")


@pytest.mark.parametrize(("together", "otherwise"), [(1, 0), (6, 4)])
async def test_a_face_that_is_not_surely_on_the_body_names_nobody(world: World, together: int, otherwise: int) -> None:
    """Seen on it once, or in two of five frames on somebody else."""
    _, seen = await see(world, face("f1", ADA), body("t1", 3, face=on_body("f1", together, otherwise)))
    assert not seen.person.HasField("name")


async def test_a_name_that_comes_later_is_told_as_a_revision(world: World) -> None:
    """The body was told before its face was decided."""
    before, _, after = await see(
        world,
        body("t1", 3, face=on_body("f1")),
        face("f1", ADA),
        body("t1", 3, sequence=2, face=on_body("f1")),
    )
    assert not before.person.HasField("name")
    assert after.person.name.subject_id == "ada"
    (event,) = await told(world)
    assert (event.revision, event.sighting.person.name.display_name) == (2, "Ada")


async def test_erasing_a_subject_erases_its_bodies(world: World) -> None:
    """Every look and sighting under the same anonymous id, on each camera; others stay."""
    await see(
        world,
        face("f1", ADA),
        body("t1", 3, face=on_body("f1"), seen_s=(60, 50)),
        body("t2", 3, camera="hall"),
        body("t3", 9, camera="hall"),
    )
    await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="ada"))
    for tracklet_id in ("t1", "t2"):
        assert (await refused(where(world, tracklet_id=tracklet_id))).reason == "TRACKLET_NOT_FOUND"
    assert await seen_ids(world, tracklet_id="t3") == ["t3"]

    async def only_the_other_is_told() -> bool:
        return [event.sighting.tracklet_id for event in await told(world)] == ["t3"]

    await eventually(only_the_other_is_told)
