"""Persons across cameras: anonymous ids that last some hours, where else somebody was, and what privacy forbids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import duration_pb2, field_mask_pb2
from redis.asyncio import Redis

from tessera.client import wire
from tessera.v1 import audit_pb2, collection_pb2, persons_pb2, subject_pb2
from tessera.v1 import biometrics_pb2 as pb
from tests.body_world import (
    BODY_MODEL,
    PERSONS,
    ago,
    body,
    create_persons,
    persons_of,
    running_person_world,
    see,
    seen_ids,
    told,
    where,
)
from tests.eventually import eventually
from tests.gallery_world import World, emptied, person, refused
from tests.valkey import PrivateServer


@pytest.fixture
async def world(store: str) -> AsyncIterator[World]:
    """A gallery of faces and persons, over each store."""
    async with running_person_world(store) as running:
        yield running


def probe(number: int, off: float = 0.1) -> pb.Probe:
    """The embedding of a body."""
    return pb.Probe(embedding=pb.Embedding(values=person(number, off), model_id=BODY_MODEL))


# ---- anonymous ids


async def test_a_person_has_one_id_on_every_camera(world: World) -> None:
    """Who looks alike is taken for one, who does not for somebody else; the answer is UNKNOWN, and no score is told."""
    first, again, other = await see(
        world, body("t1", 3), body("t2", 3, camera="hall", off=0.2), body("t3", 9, camera="hall")
    )
    assert first.decision.outcome == pb.OUTCOME_UNKNOWN
    assert first.person.person_id.startswith("person-")
    assert again.person.person_id == first.person.person_id
    assert other.person.person_id not in ("", first.person.person_id)
    sightings = {event.sighting.tracklet_id: event.sighting for event in await told(world)}
    assert sightings["t2"].person.person_id == first.person.person_id
    assert not sightings["t2"].decision.HasField("score")
    assert not sightings["t2"].person.HasField("name")
    kept = sightings["t2"].person.until.ToDatetime() - sightings["t2"].last_seen.ToDatetime()
    assert kept == timedelta(hours=8)


async def test_two_whom_one_camera_sees_at_once_are_two(world: World) -> None:
    """However alike they are; on another camera the same moment proves nothing."""
    one, other, elsewhere = await see(world, body("t1", 3), body("t2", 3), body("t3", 3, camera="hall"))
    assert one.person.person_id != other.person.person_id
    assert elsewhere.person.person_id in (one.person.person_id, other.person.person_id)


async def test_a_tracklet_that_was_alone_may_join_when_it_is_known_better(world: World) -> None:
    """Its event is told anew; once it is not alone, nothing takes it away."""
    known, poor, better, worse = await see(
        world,
        body("t1", 3),
        body("t2", 9, camera="hall", looks=1, samples=[_mixed(3, 9, 0.2)] * 2),
        body("t2", 3, camera="hall", sequence=2, looks=12),
        body("t2", 20, camera="hall", sequence=3, looks=12),
    )
    assert poor.person.person_id != known.person.person_id
    assert better.person.person_id == worse.person.person_id == known.person.person_id
    assert [event.revision for event in await told(world) if event.sighting.tracklet_id == "t2"] == [2]


async def test_too_few_frames_make_nobody(world: World) -> None:
    """One look is no tracklet yet: nothing is kept of it, and it gets no id."""
    (answer,) = await see(world, body("t1", 3, looks=1))
    assert (answer.decision.outcome, answer.person.person_id) == (pb.OUTCOME_INCONCLUSIVE, "")
    assert (await refused(where(world, tracklet_id="t1"))).reason == "TRACKLET_NOT_FOUND"


def _mixed(one: int, other: int, share: float) -> Any:
    """A look between two people, as the cosine to the first."""
    vector = share * np.array(person(one)) + np.sqrt(1 - share**2) * np.array(person(other))
    sample = body("t", 0).samples[0]
    del sample.embedding.values[:]
    sample.embedding.values.extend(vector.tolist())
    sample.quality.overall = 0.1
    return sample


# ---- where else


async def test_where_else_a_person_was(world: World) -> None:
    """By a tracklet, its event, its person or an embedding: newest first, each with why it is shown."""
    answers = await see(
        world,
        body("t1", 3, seen_s=(300, 290)),
        body("t2", 3, camera="hall", seen_s=(200, 190)),
        body("t3", 9, camera="hall", seen_s=(150, 140)),
        body("t4", 3, camera="gate", seen_s=(100, 90)),
    )
    found = await where(world, tracklet_id="t2")
    bases = [persons_pb2.AppearanceBasis.Name(one.basis) for one in found.appearances]
    assert [one.tracklet_id for one in found.appearances] == ["t4", "t2", "t1"]
    assert bases == ["APPEARANCE_BASIS_SAME_PERSON", "APPEARANCE_BASIS_ASKED", "APPEARANCE_BASIS_SAME_PERSON"]
    assert (found.threshold.target_fmr, found.looks_compared) == (1e-4, 1)
    assert found.expected_false == pytest.approx(found.threshold.fmr)
    assert await seen_ids(world, event_id=answers[1].event_id) == ["t4", "t2", "t1"]
    assert await seen_ids(world, person_id=answers[0].person.person_id) == ["t4", "t2", "t1"]
    by_probe = await where(world, probe=probe(3))
    assert {one.basis for one in by_probe.appearances} == {persons_pb2.APPEARANCE_BASIS_LOOKS_ALIKE}
    assert [one.tracklet_id for one in by_probe.appearances] == ["t4", "t2", "t1"]


async def test_where_by_time_and_camera(world: World) -> None:
    """Only what was seen in the interval, and by the cameras that are named."""
    await see(
        world,
        body("t1", 3, seen_s=(300, 290)),
        body("t2", 3, camera="hall", seen_s=(200, 190)),
        body("t3", 3, camera="gate", seen_s=(100, 90)),
    )
    late = {"from": wire.time_to_wire(ago(250))}
    assert await seen_ids(world, tracklet_id="t1", **late) == ["t3", "t2"]
    assert await seen_ids(world, tracklet_id="t1", until=wire.time_to_wire(ago(250))) == ["t1"]
    assert await seen_ids(world, tracklet_id="t1", camera_ids=["gate", "door"]) == ["t3", "t1"]


async def test_scores_are_kept_back_unless_asked_for(world: World) -> None:
    """Enough of them would rebuild the embedding."""
    await see(world, body("t1", 3), body("t2", 3, camera="hall", off=0.3))
    plain = await where(world, tracklet_id="t1")
    scored = await where(world, tracklet_id="t1", with_score=True)
    assert not any(one.HasField("score") for one in plain.appearances)
    assert [0.5 < one.score <= 1.001 for one in scored.appearances] == [True, True]


async def test_a_rate_decides_what_is_shown_by_appearance(world: World) -> None:
    """At FMR 1e-3 a score of 0.45 is shown, at 1e-4 it is not."""
    vector = 0.45 * np.array(person(3, 0.0)) + np.sqrt(1 - 0.45**2) * np.array(person(9, 0.0))
    asked = pb.Probe(embedding=pb.Embedding(values=vector.tolist(), model_id=BODY_MODEL))
    await see(world, body("t1", 3, off=0.0))
    assert await seen_ids(world, probe=asked, target_fmr=1e-3) == ["t1"]
    assert await seen_ids(world, probe=asked, target_fmr=1e-4) == []
    refusal = await refused(where(world, probe=asked, target_fmr=1e-9))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CALIBRATION_TOO_SMALL")


async def test_pages_of_appearances_miss_nothing(world: World) -> None:
    """Page after page shows what one large page shows, each once."""
    await see(world, *(body(f"t{n}", 3, camera=f"c{n}", seen_s=(100 - n, 90 - n)) for n in range(5)))
    every, token = await seen_ids(world, tracklet_id="t0"), ""
    paged: list[str] = []
    while True:
        page = await where(world, tracklet_id="t0", page_size=2, page_token=token)
        paged += [one.tracklet_id for one in page.appearances]
        token = page.next_page_token
        if not token:
            break
    assert paged == every == ["t4", "t3", "t2", "t1", "t0"]


async def test_who_asked_is_on_record(world: World) -> None:
    """Under the anonymous id, with the answer's evidence id, and without a score."""
    (seen,) = await see(world, body("t1", 3))
    answer = await where(world, tracklet_id="t1", request_id="why-1")
    page = await world.stub.QueryAudit(audit_pb2.QueryAuditRequest(collection_id=PERSONS))
    entry = next(one for one in page.entries if one.method == "FindAppearances")
    assert (entry.evidence_id, entry.subject_id, entry.request_id) == (
        answer.evidence_id,
        seen.person.person_id,
        "why-1",
    )


async def test_questions_that_cannot_be_answered(world: World) -> None:
    """Each refusal names the field, what was sent, and what is allowed."""
    await see(world, body("t1", 3))
    nobody = await refused(where(world))
    assert (nobody.code, nobody.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "who")
    faces = await refused(where(world, collection_id="default", tracklet_id="t1"))
    assert (faces.metadata["field"], faces.metadata["allowed"]) == ("collection_id", "a collection of PERSON")
    assert (await refused(where(world, person_id="person-0"))).reason == "PERSON_NOT_FOUND"
    swapped = await refused(
        where(world, tracklet_id="t1", until=wire.time_to_wire(ago(9)), **{"from": wire.time_to_wire(ago(5))})
    )
    assert swapped.metadata["field"] == "until"
    assert (await refused(where(world, tracklet_id="t1", page_token="x"))).metadata["field"] == "page_token"
    assert (await refused(where(world, tracklet_id="t1", page_size=2000))).metadata["field"] == "page_size"


# ---- privacy


async def test_nobody_is_enrolled_unless_the_collection_allows_it(world: World) -> None:
    """The refusal says what would allow it; once allowed it works, and cannot be forbidden over somebody's head."""
    request = subject_pb2.EnrollSubjectRequest(collection_id=PERSONS, subject_id="ada", samples=[probe(3)])
    refusal = await refused(world.stub.EnrollSubject(request))
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "PERSISTENT_PERSONS_FORBIDDEN",
    )
    assert "allow_persistent_persons" in refusal.metadata["allowed"]
    await change(world, allow_persistent_persons=True)
    await world.stub.EnrollSubject(request)
    (seen,) = await see(world, body("t1", 3))
    assert (seen.decision.outcome, seen.subject_id) == (pb.OUTCOME_MATCH, "ada")
    assert seen.person.person_id != ""
    again = await refused(change(world, allow_persistent_persons=False))
    assert (again.reason, again.metadata["field"]) == ("PERSONS_ENROLLED", "allow_persistent_persons")
    await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(collection_id=PERSONS, subject_id="ada"))
    assert not (await change(world, allow_persistent_persons=False)).allow_persistent_persons


async def change(world: World, **fields: Any) -> collection_pb2.Collection:
    """Change the collection of persons."""
    request = collection_pb2.UpdateCollectionRequest(
        collection=collection_pb2.Collection(collection_id=PERSONS, **fields),
        update_mask=field_mask_pb2.FieldMask(paths=list(fields)),
    )
    return (await world.stub.UpdateCollection(request)).collection


@pytest.mark.parametrize(
    ("seconds", "allow", "fits"),
    [(59, False, False), (60, False, True), (86_400, False, True), (86_401, False, False), (86_401, True, True)],
)
async def test_retention_has_a_bound(world: World, seconds: int, allow: bool, fits: bool) -> None:
    """A day, unless persons may be kept persistently."""
    wanted = {
        "person_retention": duration_pb2.Duration(seconds=seconds),
        "allow_persistent_persons": allow,
        "collection_id": "gate-persons",
    }
    if fits:
        assert (await create_persons(world, **wanted)).person_retention.seconds == seconds
    else:
        assert (await refused(create_persons(world, **wanted))).metadata["field"] == "person_retention"


async def test_faces_have_no_person_settings(world: World) -> None:
    """What says something of persons alone is refused elsewhere, not ignored."""
    for name, value in (("allow_persistent_persons", True), ("person_retention", duration_pb2.Duration(seconds=900))):
        wanted = collection_pb2.Collection(collection_id="faces", **{name: value})
        refusal = await refused(world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=wanted)))
        assert refusal.metadata["field"] == name


async def test_a_look_ends_with_its_time(world: World) -> None:
    """Also where that was shortened since: embedding, id and sightings are gone; whoever was seen later stays."""
    old, new = await see(world, body("t1", 3, seen_s=(90, 70)), body("t2", 9, camera="hall"))
    assert await seen_ids(world, tracklet_id="t1") == ["t1"]
    await change(world, person_retention=duration_pb2.Duration(seconds=60))

    async def is_gone() -> bool:
        return [event.sighting.tracklet_id for event in await told(world)] == ["t2"]

    await eventually(is_gone)
    assert (await refused(where(world, person_id=old.person.person_id))).reason == "PERSON_NOT_FOUND"
    assert await seen_ids(world, person_id=new.person.person_id) == ["t2"]
    assert world.value("tessera_gallery_person_looks_dropped_total", why="EXPIRED") == 1


async def test_a_camera_whose_clock_runs_ahead_keeps_nobody_longer(world: World) -> None:
    """Retention counts from the gallery's own clock at the latest."""
    (seen,) = await see(world, body("t1", 3, seen_s=(-86_400, -86_401)))
    assert seen.person.until.ToDatetime() < (ago(0) + timedelta(hours=8)).replace(tzinfo=None)


async def test_what_comes_too_late_is_not_kept(world: World) -> None:
    """A look whose time is over when it arrives is no look: it gets no id, and nothing finds it."""
    await change(world, person_retention=duration_pb2.Duration(seconds=60))
    (seen,) = await see(world, body("t1", 3, seen_s=(90, 70)))
    assert seen.person.person_id == ""
    assert (await refused(where(world, tracklet_id="t1"))).reason == "TRACKLET_NOT_FOUND"


async def test_a_person_can_be_erased(world: World) -> None:
    """Every look and every sighting, of that person alone; the same call again counts nothing."""
    one, other = await see(world, body("t1", 3), body("t2", 9, camera="hall"))
    await see(world, body("t3", 3, camera="hall"))
    request = persons_pb2.ErasePersonRequest(person_id=one.person.person_id)
    erased = await persons_of(world).ErasePerson(request)
    assert (erased.looks_erased, erased.events_erased) == (2, 2)
    assert (await refused(where(world, tracklet_id="t1"))).reason == "TRACKLET_NOT_FOUND"
    assert await seen_ids(world, person_id=other.person.person_id) == ["t2"]
    assert [event.sighting.tracklet_id for event in await told(world)] == ["t2"]
    again = await persons_of(world).ErasePerson(request)
    assert (again.looks_erased, again.events_erased) == (0, 0)


async def test_a_collection_takes_its_looks_along(world: World) -> None:
    """And their sightings; one that is made again under the same name knows nobody of before."""
    await see(world, body("t1", 3))
    await world.stub.DeleteCollection(collection_pb2.DeleteCollectionRequest(collection_id=PERSONS))
    assert await told(world) == []
    await create_persons(world)
    assert (await refused(where(world, tracklet_id="t1"))).reason == "TRACKLET_NOT_FOUND"


async def test_the_collection_of_persons_is_made_when_somebody_is_seen(world: World) -> None:
    """With the rates that are usual for persons, and with their privacy."""
    await world.stub.DeleteCollection(collection_pb2.DeleteCollectionRequest(collection_id=PERSONS))
    early, seen = await see(world, body("t1", 3, looks=4), body("t1", 3, sequence=2, looks=1))
    assert (early.person.person_id, seen.person.person_id != "") == ("", True)
    made = (await world.stub.GetCollection(collection_pb2.GetCollectionRequest(collection_id=PERSONS))).collection
    assert (made.policy.verify_target_fmr, made.policy.identify_target_fpir) == (0.01, 0.01)
    assert (made.allow_persistent_persons, made.person_retention.seconds) == (False, 8 * 3600)


# ---- several galleries, one store


async def test_looks_are_shared_sealed_and_survive_a_restart(valkey: PrivateServer) -> None:
    """Two galleries know each other's persons, a third that starts later knows both's; the server sees no vector."""
    address = await emptied(valkey)
    async with running_person_world(address) as one, running_person_world(address) as other:
        (first,) = await see(one, body("t1", 3))
        (second,) = await see(other, body("t2", 3, camera="hall"))
        assert first.person.person_id == second.person.person_id
        assert sorted(await seen_ids(one, tracklet_id="t1")) == ["t1", "t2"]
        await persons_of(one).ErasePerson(persons_pb2.ErasePersonRequest(person_id=first.person.person_id))
        assert (await refused(where(other, tracklet_id="t1"))).reason == "TRACKLET_NOT_FOUND"
        (third,) = await see(other, body("t3", 9))
    async with running_person_world(address) as later:
        assert await seen_ids(later, person_id=third.person.person_id) == ["t3"]
    async with Redis.from_url(address) as client:
        values = await client.hgetall("tessera:{persons/00}:looks")
        ends_ms = await client.pexpiretime("tessera:{persons/00}:looks")
    (sealed,) = values.values()
    plain = np.array(person(9, 0.1), np.float16).tobytes()
    assert plain not in sealed
    assert b"t3" not in sealed
    assert ends_ms / 1000 < (ago(0) + timedelta(hours=8)).timestamp()


async def test_appearances_are_in_order(world: World) -> None:
    """Newest first, by when they were seen last, whatever order they were told in."""
    order = [40, 10, 30, 20]
    await see(world, *(body(f"t{s}", 3, camera=f"c{s}", seen_s=(s + 1, s)) for s in order))
    found = (await where(world, tracklet_id="t10")).appearances
    assert all(one.last_seen.ToDatetime() >= two.last_seen.ToDatetime() for one, two in pairwise(found))
    assert len(found) == len(order)
