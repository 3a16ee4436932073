"""What may be changed after an enrolment, and who is found by whom and when."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from gallery_svc.store.protocol import shard_of
from tessera.client import wire
from tessera.domain.ids import CollectionId, SubjectId, TemplateId
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import collection_pb2, matching_pb2, subject_pb2
from tests.gallery_world import (
    MODEL,
    World,
    embedded,
    enroll,
    found,
    identify,
    person,
    probe_of,
    refused,
    verify,
)

HOUR = timedelta(hours=1)


def at(offset: timedelta) -> Any:
    """A moment from now, as it travels."""
    return wire.time_to_wire(datetime.now(UTC) + offset)


async def change(world: World, subject_id: str, *paths: str, **fields: Any) -> subject_pb2.UpdateSubjectResponse:
    """Change what these paths name; what is no field of the subject is one of the request."""
    asked = {name: fields.pop(name) for name in ("expected_revision", "request_id") if name in fields}
    subject = subject_pb2.Subject(subject_id=subject_id, **fields)
    request = subject_pb2.UpdateSubjectRequest(subject=subject, update_mask=FieldMask(paths=paths), **asked)
    return await world.stub.UpdateSubject(request)


async def change_collection(
    world: World, *paths: str, expected_revision: int = 0, **fields: Any
) -> collection_pb2.Collection:
    """Change the default collection."""
    request = collection_pb2.UpdateCollectionRequest(
        collection=collection_pb2.Collection(**fields),
        update_mask=FieldMask(paths=paths),
        expected_revision=expected_revision,
    )
    return (await world.stub.UpdateCollection(request)).collection


async def decided(world: World, tracklet_id: str, camera_id: str) -> pb.Decision:
    """What a camera is told of two good looks at person 0."""
    sample = matching_pb2.TrackletSample(
        capture_time=at(timedelta()),
        embedding=pb.Embedding(values=person(0), model_id=MODEL),
        quality=pb.Quality(overall=0.9),
    )
    update = matching_pb2.TrackletUpdate(
        camera_id=camera_id, tracklet_id=tracklet_id, sequence=1, samples=[sample, sample], ended=True
    )
    opening = matching_pb2.MatchStreamRequest(open=matching_pb2.MatchStreamOpen(worker_id="w1"))
    stream = world.stub.MatchStream(iter([opening, matching_pb2.MatchStreamRequest(update=update)]))
    answers = [answer async for answer in stream]
    return answers[-1].decision.decision


# ---- who is found


async def test_a_search_finds_those_who_have_all_the_labels(world: World) -> None:
    """However many are wanted, and whoever else looks more like the probe."""
    await enroll(world, "ada", embedded(person(0)), labels=["staff", "night"])
    await enroll(world, "bob", embedded(person(0, 0.5)), labels=["staff"])
    await enroll(world, "eve", embedded(person(0, 0.7)))
    assert await found(world, embedded(person(0))) == ["ada", "bob", "eve"]
    assert await found(world, embedded(person(0)), labels=["staff"]) == ["ada", "bob"]
    assert await found(world, embedded(person(0)), labels=["night", "staff"], max_candidates=1) == ["ada"]
    assert await found(world, embedded(person(0)), labels=["nobody"]) == []


async def test_a_camera_finds_those_whom_it_may_find(world: World) -> None:
    """Others are not there for it, in searches, in verifications and over tracklets; without a camera all are."""
    await enroll(world, "ada", embedded(person(0)), camera_ids=["door", "yard"])
    assert list((await enroll(world, "bob", embedded(person(9)))).subject.camera_ids) == []
    assert await found(world, embedded(person(0)), camera_id="door") == ["ada", "bob"]
    assert await found(world, embedded(person(0)), camera_id="lift") == ["bob"]
    assert await found(world, embedded(person(0))) == ["ada", "bob"]
    assert (await verify(world, "ada", embedded(person(0)), camera_id="door")).decision.outcome == pb.OUTCOME_MATCH
    told = await refused(verify(world, "ada", embedded(person(0)), camera_id="lift"))
    assert told.reason == "SUBJECT_NOT_FOUND"
    assert (await decided(world, "t1", "door")).outcome == pb.OUTCOME_MATCH
    assert (await decided(world, "t2", "lift")).outcome == pb.OUTCOME_UNKNOWN


@pytest.mark.parametrize(
    ("begin", "end", "is_valid"),
    [
        (-2 * HOUR, -HOUR, False),
        (HOUR, 2 * HOUR, False),
        (-HOUR, HOUR, True),
        (-HOUR, None, True),
        (None, -HOUR, False),
    ],
)
async def test_who_is_not_valid_now_is_not_found(
    world: World, begin: timedelta | None, end: timedelta | None, is_valid: bool
) -> None:
    """A search passes over them unless it says otherwise; a claim is told why it cannot be decided."""
    validity = {"valid_from": begin and at(begin), "valid_until": end and at(end)}
    await enroll(world, "ada", embedded(person(0)), **{name: value for name, value in validity.items() if value})
    await enroll(world, "bob", embedded(person(9)))
    assert await found(world, embedded(person(0))) == (["ada", "bob"] if is_valid else ["bob"])
    assert await found(world, embedded(person(0)), include_not_valid=True) == ["ada", "bob"]
    decision = (await verify(world, "ada", embedded(person(0)))).decision
    expected = (pb.OUTCOME_MATCH, []) if is_valid else (pb.OUTCOME_INCONCLUSIVE, [pb.REASON_NOT_VALID_NOW])
    assert (decision.outcome, list(decision.reasons)) == expected
    assert (await decided(world, "t1", "door")).outcome == (pb.OUTCOME_MATCH if is_valid else pb.OUTCOME_UNKNOWN)


async def test_a_validity_that_ends_before_it_begins_is_refused(world: World) -> None:
    """By field, at enrolment and in a change."""
    backwards = {"valid_from": at(HOUR), "valid_until": at(-HOUR)}
    told = await refused(enroll(world, "ada", embedded(person(0)), **backwards))
    assert (told.reason, told.metadata["field"]) == ("INVALID_FIELD", "valid_until")
    await enroll(world, "ada", embedded(person(0)))
    told = await refused(change(world, "ada", "valid_from", "valid_until", **backwards))
    assert told.metadata["field"] == "subject.valid_until"


# ---- subjects


async def test_a_change_says_what_it_changes(world: World) -> None:
    """The mask's fields are set, also to nothing; the others stay; searches follow at once."""
    await enroll(world, "ada", embedded(person(0)), display_name="Ada", labels=["staff"], metadata={"floor": "3"})
    changed = await change(world, "ada", "display_name", "labels", display_name="Ada L.", external_id="ignored")
    subject = changed.subject
    assert (subject.display_name, list(subject.labels), subject.external_id) == ("Ada L.", [], "")
    assert (dict(subject.metadata), subject.revision, changed.position) == ({"floor": "3"}, 2, 2)
    (candidate,) = (await identify(world, embedded(person(0)))).identifications[0].candidates
    assert candidate.display_name == "Ada L."
    assert await found(world, embedded(person(0)), labels=["staff"]) == []
    await change(world, "ada", "valid_until", valid_until=at(-HOUR))
    assert await found(world, embedded(person(0))) == []
    await change(world, "ada", "valid_until", "camera_ids", camera_ids=["door"])
    assert await found(world, embedded(person(0)), camera_id="door") == ["ada"]
    kept = (await world.stub.GetSubject(subject_pb2.GetSubjectRequest(subject_id="ada"))).subject
    assert (kept.HasField("valid_until"), list(kept.camera_ids), kept.revision) == (False, ["door"], 4)


async def test_a_change_of_what_was_changed_meanwhile_is_refused(world: World) -> None:
    """ABORTED with the revision there is; the same request again is answered as before."""
    await enroll(world, "ada", embedded(person(0)))
    first = await change(world, "ada", "display_name", display_name="A", expected_revision=1, request_id="u1")
    told = await refused(change(world, "ada", "display_name", display_name="B", expected_revision=1))
    assert (told.code, told.reason) == (grpc.StatusCode.ABORTED, "REVISION_CHANGED")
    assert told.metadata["field"] == "expected_revision"
    again = await change(world, "ada", "display_name", display_name="A", expected_revision=1, request_id="u1")
    assert (again.subject.revision, again.position) == (2, first.position)
    told = await refused(change(world, "ada", "display_name", display_name="C", request_id="u1"))
    assert told.reason == "REQUEST_ID_REUSED"


async def test_bad_changes_are_refused_by_field(world: World) -> None:
    """Masks that are empty or name what cannot change, subjects that do not exist, values that are too long."""
    await enroll(world, "ada", embedded(person(0)))
    cases = [
        (change(world, "ada"), "INVALID_FIELD", "update_mask"),
        (change(world, "ada", "templates"), "INVALID_FIELD", "update_mask"),
        (change(world, "bob", "labels"), "SUBJECT_NOT_FOUND", "subject_id"),
        (change(world, "ada", "display_name", display_name="x" * 300), "INVALID_FIELD", "subject.display_name"),
        (change(world, "ada", "camera_ids", camera_ids=["a b"]), "INVALID_FIELD", "subject.camera_ids"),
    ]
    for call, reason, field in cases:
        told = await refused(call)
        assert (told.reason, told.metadata["field"]) == (reason, field)


async def test_a_template_can_go_but_not_the_last(world: World) -> None:
    """The others still match; the same request again is no second deletion."""
    unlike = collection_pb2.OUTLIER_POLICY_IGNORE
    enrolled = await enroll(world, "ada", embedded(person(0)), embedded(person(5)), outlier_policy=unlike)
    first, second = (template.template_id for template in enrolled.subject.templates)

    def deletion(template_id: str, request_id: str = "") -> Any:
        request = subject_pb2.DeleteTemplateRequest(subject_id="ada", template_id=template_id, request_id=request_id)
        return world.stub.DeleteTemplate(request)

    gone = await deletion(first, "d1")
    assert [template.template_id for template in gone.subject.templates] == [second]
    assert (await verify(world, "ada", embedded(person(0)))).decision.outcome == pb.OUTCOME_NO_MATCH
    assert (await verify(world, "ada", embedded(person(5)))).decision.outcome == pb.OUTCOME_MATCH
    assert (await deletion(first, "d1")).position == gone.position
    told = await refused(deletion(second))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LAST_TEMPLATE")
    assert (await refused(deletion("template-nobody"))).reason == "TEMPLATE_NOT_FOUND"


# ---- collections


async def test_a_collections_rates_can_be_changed(world: World) -> None:
    """The next decision stands for the new rate; what cannot be kept is refused, and nothing changes."""
    await enroll(world, "ada", embedded(person(0)))
    loose = collection_pb2.DecisionPolicy(verify_target_fmr=1e-2, min_tracklet_frames=3)
    changed = await change_collection(world, "policy", "display_name", policy=loose, display_name="Everybody")
    assert (changed.display_name, changed.policy.min_tracklet_frames, changed.revision) == ("Everybody", 3, 2)
    threshold = (await verify(world, "ada", embedded(person(0)))).decision.threshold
    assert threshold.target_fmr == 1e-2
    strict = collection_pb2.DecisionPolicy(verify_target_fmr=1e-9)
    assert (await refused(change_collection(world, "policy", policy=strict))).reason == "CALIBRATION_TOO_SMALL"
    assert (await refused(change_collection(world, "shard_count", shard_count=3))).metadata["field"] == "update_mask"
    told = await refused(change_collection(world, "display_name", display_name="X", expected_revision=1))
    assert (told.reason, told.metadata["value"]) == ("REVISION_CHANGED", "1")
    told = await refused(change_collection(world, "labels", collection_id="nowhere"))
    assert told.reason == "COLLECTION_NOT_FOUND"


async def test_changes_of_a_collection_at_one_moment_are_all_made(world: World) -> None:
    """Who does not ask for a revision is not refused because of somebody else's change of another field."""
    await asyncio.gather(
        change_collection(world, "display_name", display_name="Everybody"),
        change_collection(world, "labels", labels={"site": "north"}),
        change_collection(world, "keep_source_images", keep_source_images=True),
    )
    got = (await world.stub.GetCollection(collection_pb2.GetCollectionRequest())).collection
    assert (got.display_name, dict(got.labels), got.keep_source_images, got.revision) == (
        "Everybody",
        {"site": "north"},
        True,
        4,
    )


async def test_a_collection_says_how_it_is_spread_and_by_whom_it_is_embedded(world: World) -> None:
    """Shards are chosen at its creation; positions tell of each; one model is active."""
    wanted = collection_pb2.Collection(collection_id="spread", shard_count=4)
    await world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=wanted))
    for number in range(6):
        await enroll(world, f"s{number}", embedded(person(number)), collection_id="spread")
    got = (await world.stub.GetCollection(collection_pb2.GetCollectionRequest(collection_id="spread"))).collection
    assert (got.shard_count, got.subject_count, len(got.positions)) == (4, 6, 4)
    assert [position >> 48 for position in got.positions] == [0, 1, 2, 3]
    assert sum(position & (1 << 48) - 1 for position in got.positions) == 6
    assert got.position == got.positions[0]
    assert [(one.epoch, one.model_id, one.state) for one in got.epochs] == [
        (1, MODEL, collection_pb2.EPOCH_STATE_ACTIVE)
    ]
    too_many = collection_pb2.Collection(collection_id="x", shard_count=65)
    told = await refused(world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=too_many)))
    assert told.metadata["field"] == "collection.shard_count"


async def test_made_subject_ids_share_the_shard_of_their_request(world: World) -> None:
    """So that an enrolment is one write; the same request finds its subject again."""
    wanted = collection_pb2.Collection(collection_id="spread", shard_count=8)
    await world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=wanted))
    for number in range(5):
        request_id = f"r{number}"
        made = await enroll(world, "", probe_of(person(number)), collection_id="spread", request_id=request_id)
        assert shard_of(made.subject.subject_id, 8) == shard_of(request_id, 8) == made.position >> 48
        again = await enroll(world, "", probe_of(person(number)), collection_id="spread", request_id=request_id)
        assert (again.subject.subject_id, again.replayed) == (made.subject.subject_id, True)


# ---- pictures


async def test_pictures_are_kept_where_the_collection_keeps_them(world: World) -> None:
    """As they were sent, from the change on, and only those that became templates; an embedding has none."""
    store = world.gallery.store
    before = await enroll(world, "ada", probe_of(person(0)))
    await change_collection(world, "keep_source_images", keep_source_images=True)
    sent = probe_of(person(0, 0.1))
    after = await enroll(world, "ada", sent, probe_of(), embedded(person(0)))

    async def picture_of(template: subject_pb2.Template) -> bytes | None:
        template_id = TemplateId(template.template_id)
        return await store.find_picture(CollectionId("default"), SubjectId("ada"), template_id)

    old, new, bare = after.subject.templates
    assert before.subject.templates[0] == old
    assert [await picture_of(template) for template in (old, new, bare)] == [None, sent.image.data, None]
    request = subject_pb2.DeleteTemplateRequest(subject_id="ada", template_id=new.template_id)
    await world.stub.DeleteTemplate(request)
    assert await picture_of(new) is None
