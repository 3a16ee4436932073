"""ExplainMatch over real gRPC and real stores: which template the encoder is asked about, and what goes on record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import numpy as np
import pytest

from tessera.client import wire
from tessera.v1 import audit_pb2, matching_pb2
from tessera.v1 import biometrics_pb2 as pb
from tests.eventually import eventually
from tests.gallery_world import (
    MODEL,
    World,
    emptied,
    enroll,
    person,
    picture,
    probe_of,
    refused,
    running_world,
)
from tests.valkey import PrivateServer


async def explain(world: World, subject_id: str, image: pb.Image, **fields: Any) -> matching_pb2.ExplainMatchResponse:
    """Ask about somebody in the default collection, unless another is named."""
    request = matching_pb2.ExplainMatchRequest(subject_id=subject_id, image=image, **fields)
    return await world.stub.ExplainMatch(request)


async def _entries(world: World) -> list[audit_pb2.AuditEntry]:
    answer = await world.stub.QueryAudit(audit_pb2.QueryAuditRequest(collection_id="default"))
    return [entry for entry in answer.entries if entry.method == "ExplainMatch"]


async def test_the_best_of_several_templates_is_the_reference(world: World) -> None:
    """Of two, the one that the picture is more like; the encoder gets its vector, and the answer says which it was."""
    near, far = person(0, off=0.2), person(0, off=0.9)
    enrolled = await enroll(world, "alice", probe_of(far), probe_of(near), require_all=True)
    ids = [template.template_id for template in enrolled.subject.templates]
    world.encoder.asked.clear()
    answer = await explain(world, "alice", picture(person(0)), grid=7)
    (asked,) = world.encoder.explained
    reference = wire.embedding_from_wire(asked.reference.embedding)
    assert reference.model_id == MODEL
    np.testing.assert_allclose(reference.vector, near, atol=1e-3)
    assert answer.template_id in ids
    assert (asked.model_id, asked.grid, asked.modality) == (MODEL, 7, pb.MODALITY_FACE)
    assert len(world.encoder.asked) == 1


async def test_the_only_template_needs_no_choice(world: World) -> None:
    """The picture goes to the encoder once, to be explained; the map comes back as it is, with the face's facts."""
    enrolled = await enroll(world, "alice", probe_of(person(0)))
    world.encoder.asked.clear()
    answer = await explain(world, "alice", picture(person(0), overall=0.7))
    assert not world.encoder.asked
    assert answer.template_id == enrolled.subject.templates[0].template_id
    assert (answer.map.rows, answer.map.columns, list(answer.map.weights)) == (2, 2, [1.0, 0.5, 0.0, -0.5])
    assert (answer.map.overlay_png, answer.map.method, answer.map.faithfulness) == (b"png", "notes", 3.0)
    assert answer.quality.overall == pytest.approx(0.7)
    assert answer.box.width_px == 100.0


async def test_it_is_on_record_as_a_method_of_its_own(world: World) -> None:
    """Who asked about whom, with the request's id; no outcome, since nothing was decided."""
    await enroll(world, "alice", probe_of(person(0)))
    await explain(world, "alice", picture(person(0)), request_id="asked-1")
    (entry,) = await _entries(world)
    assert (entry.subject_id, entry.request_id, entry.collection_id) == ("alice", "asked-1", "default")
    assert entry.caller
    assert entry.evidence_id
    assert entry.outcome == pb.OUTCOME_UNSPECIFIED
    assert not entry.HasField("threshold")


@pytest.mark.parametrize("templates", [1, 2])
@pytest.mark.parametrize(("faces", "reason"), [(0, "NO_FACE"), (2, "EXCEEDS_MAX_FACES")])
async def test_the_picture_has_exactly_one_face(world: World, templates: int, faces: int, reason: str) -> None:
    """None and two are refused by the reason, whoever looks first; nothing was told, so nothing is on record."""
    await enroll(world, "alice", *(probe_of(person(0, off=0.1 * n)) for n in range(templates)))
    detail = await refused(explain(world, "alice", picture(*(person(n) for n in range(faces)))))
    assert (detail.code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert detail.metadata["field"] == "image"
    assert not await _entries(world)


async def test_a_picture_that_cannot_be_used_is_told_by_its_reason(world: World) -> None:
    """As the encoder says it."""
    await enroll(world, "alice", probe_of(person(0)), probe_of(person(0, off=0.1)))
    detail = await refused(explain(world, "alice", picture(error="NOT_AN_IMAGE")))
    assert (detail.reason, detail.metadata["field"]) == ("NOT_AN_IMAGE", "image")


async def test_who_is_not_there_cannot_be_explained(world: World) -> None:
    """Neither a subject nor a collection; and a subject that was erased no more."""
    assert (await refused(explain(world, "nobody", picture(person(0))))).reason == "SUBJECT_NOT_FOUND"
    other = explain(world, "alice", picture(person(0)), collection_id="nowhere")
    assert (await refused(other)).reason == "COLLECTION_NOT_FOUND"
    assert not world.encoder.explained


@pytest.mark.parametrize("templates", [1, 2])
@pytest.mark.parametrize(("field", "hours"), [("valid_from", 1), ("valid_until", -1)])
async def test_who_is_not_valid_now_is_refused_as_verify_says(
    world: World, field: str, hours: int, templates: int
) -> None:
    """By the reason for which a claim about them is inconclusive; the encoder is not asked, nothing is on record."""
    samples = [probe_of(person(0, off=0.1 * n)) for n in range(templates)]
    moment = datetime.now(UTC) + timedelta(hours=hours)
    await enroll(world, "alice", *samples, **{field: wire.time_to_wire(moment)})
    world.encoder.asked.clear()
    detail = await refused(explain(world, "alice", picture(person(0))))
    assert (detail.code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_VALID_NOW")
    assert detail.metadata["field"] == "subject_id"
    assert not world.encoder.explained
    assert not world.encoder.asked
    assert not await _entries(world)
    claim = matching_pb2.VerifyRequest(subject_id="alice", probe=probe_of(person(0)))
    assert list((await world.stub.Verify(claim)).decision.reasons) == [pb.REASON_NOT_VALID_NOW]


async def test_a_camera_explains_whom_it_may_find(world: World) -> None:
    """For any other the subject is not there, valid or not, as in a claim; without a camera it is."""
    await enroll(world, "alice", probe_of(person(0)), camera_ids=["door"])
    for camera_id in ("door", ""):
        assert (await explain(world, "alice", picture(person(0)), camera_id=camera_id)).template_id
    detail = await refused(explain(world, "alice", picture(person(0)), camera_id="lift"))
    assert (detail.code, detail.reason) == (grpc.StatusCode.NOT_FOUND, "SUBJECT_NOT_FOUND")
    assert len(world.encoder.explained) == 2


@pytest.mark.parametrize("grid", [1, 29])
async def test_a_grid_that_cannot_be_is_refused(world: World, grid: int) -> None:
    """By name, before the encoder is asked."""
    await enroll(world, "alice", probe_of(person(0)))
    detail = await refused(explain(world, "alice", picture(person(0)), grid=grid))
    assert (detail.reason, detail.metadata["field"]) == ("INVALID_FIELD", "grid")
    assert not world.encoder.explained


async def test_what_is_not_on_record_is_not_told(valkey: PrivateServer) -> None:
    """The store goes while the encoder explains: the call fails, although the map is there."""
    async with running_world(await emptied(valkey), store_timeout_s=0.3) as world:
        await eventually(world.is_ready)
        await enroll(world, "alice", probe_of(person(0)))
        world.encoder.while_explaining = valkey.pause
        try:
            detail = await refused(explain(world, "alice", picture(person(0))))
        finally:
            valkey.resume()
        assert detail.code is grpc.StatusCode.UNAVAILABLE
