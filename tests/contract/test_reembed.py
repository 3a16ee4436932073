"""`Reembed` over real gRPC: a collection moves to another encoder while it is searched, and back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from gallery_svc.service import running_gallery
from gallery_svc.settings import DurabilityWord, GallerySettings
from gallery_svc.thresholds import Thresholds
from tessera.chassis.channel import open_channel
from tessera.chassis.clock import SystemClock
from tessera.client.encoder import EncoderClient
from tessera.domain.embedding import Modality
from tessera.domain.ids import CalibrationId, ModelId
from tessera.v1 import audit_pb2, collection_pb2, encoder_pb2, encoder_pb2_grpc, events_pb2_grpc, gallery_pb2_grpc
from tests.eventually import eventually
from tests.gallery_world import (
    CALIBRATION,
    DIMENSIONS,
    MODEL,
    NoteReader,
    World,
    embedded,
    emptied,
    enroll,
    found,
    person,
    probe_of,
    refused,
    verify,
)
from tests.valkey import PrivateServer, running_server

OTHER = ModelId("face-notes-2@0123456789ab")
THRESHOLDS = Thresholds(
    [CALIBRATION, replace(CALIBRATION, model_id=OTHER, calibration_id=CalibrationId("cal-notes-2"))],
    {Modality.FACE: MODEL},
    {MODEL: DIMENSIONS, OTHER: DIMENSIONS},
)
STAFF = "staff"
SHADOW, COMPARE = audit_pb2.REEMBED_STEP_SHADOW, audit_pb2.REEMBED_STEP_COMPARE
CUT_OVER, ROLL_BACK = audit_pb2.REEMBED_STEP_CUT_OVER, audit_pb2.REEMBED_STEP_ROLL_BACK
DISCARD = audit_pb2.REEMBED_STEP_DISCARD


class TwoModelReader(NoteReader):
    """An encoder with two models; the second turns every vector, so that no probe of the one suits the other."""

    async def Encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> encoder_pb2.EncodeResponse:
        """Read one note under the model that is asked for."""
        model_id = request.options.model_id or MODEL
        if model_id == OTHER:
            note = json.loads(request.image.data)
            note["faces"] = [turned(face) for face in note["faces"]]
            request.image.data = json.dumps(note).encode()
        response = await super().Encode(request, context)
        response.model_id = model_id
        for observation in response.observations:
            observation.embedding.model_id = model_id
        return response


def turned(vector: list[float]) -> list[float]:
    """What the second model makes of whom the first one sees so."""
    return [float(value) for value in np.roll(vector, 5)]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=["memory", "valkey"])
async def world(
    request: pytest.FixtureRequest, valkey: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A gallery with a collection that keeps pictures, over each store."""
    store = await emptied(valkey) if request.param == "valkey" else "memory"
    monkeypatch.setenv("TESSERA_TEST_KEYS", "test AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    async with running(store) as here:
        wanted = collection_pb2.Collection(collection_id=STAFF, keep_source_images=True, shard_count=2)
        await here.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=wanted))
        yield here


@contextlib.asynccontextmanager
async def running(store: str) -> AsyncIterator[World]:
    """A gallery and an encoder of two models, ready."""
    reader, server = TwoModelReader(), grpc.aio.server()
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(reader, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    settings = GallerySettings(
        port=0,
        metrics_port=0,
        store=store,
        keys="env:TESSERA_TEST_KEYS",
        durability=DurabilityWord.EVERYSEC,
        follow_interval_s=0.02,
        drain_s=1.0,
    )
    async with open_channel(f"127.0.0.1:{port}") as to_encoder:
        client = EncoderClient(to_encoder)
        async with (
            running_gallery(settings, client, THRESHOLDS, SystemClock()) as gallery,
            open_channel(f"127.0.0.1:{gallery.server.port}") as channel,
        ):
            stubs = gallery_pb2_grpc.GalleryServiceStub(channel), events_pb2_grpc.EventServiceStub(channel)
            here = World(gallery, reader, client, channel, *stubs)
            await eventually(here.is_ready)
            yield here
    await server.stop(None)


async def do(world: World, step: Any, model_id: str = OTHER, **fields: Any) -> list[audit_pb2.ReembedResponse]:
    """All that a step says."""
    request = audit_pb2.ReembedRequest(collection_id=STAFF, target_model_id=model_id, step=step, **fields)
    return [response async for response in world.stub.Reembed(request)]


async def seen(world: World, number: int) -> list[str]:
    """Who is found first for a person's picture."""
    return (await found(world, probe_of(person(number)), collection_id=STAFF))[:1]


async def test_a_collection_moves_and_back(world: World) -> None:
    """Shadow, comparison, cut, roll-back, cut, discard: pictures find their people at every point of the way."""
    for number in range(6):
        samples = [probe_of(person(number)), probe_of(person(number, 0.1))]
        await enroll(world, f"p{number}", *samples, collection_id=STAFF, require_all=True)
    for step in (SHADOW, COMPARE, CUT_OVER, ROLL_BACK, CUT_OVER, DISCARD):
        last = (await do(world, step))[-1]
        assert last.templates_failed == 0
        assert await seen(world, 3) == ["p3"]
        if step == COMPARE:
            assert (last.comparison.subjects, last.comparison.rank1_agreement) == (6, 1.0)
            assert last.comparison.decisions_changed == 0.0
        else:
            assert (last.templates_done, last.templates_total) == (12, 12)
    view = await world.stub.GetCollection(collection_pb2.GetCollectionRequest(collection_id=STAFF))
    assert [(each.model_id, each.state) for each in view.collection.epochs] == [
        (OTHER, collection_pb2.EPOCH_STATE_ACTIVE)
    ]
    assert view.collection.model_id == OTHER


async def test_embeddings_of_the_old_model_are_refused_after_the_cut(world: World) -> None:
    """As probes and as samples: MODEL_MISMATCH; those of the new one are taken."""
    await enroll(world, "ada", probe_of(person(1)), collection_id=STAFF)
    await do(world, SHADOW)
    await do(world, CUT_OVER)
    old, new = embedded(person(1)), embedded(turned(person(1)), OTHER)
    for call in (verify(world, "ada", old, collection_id=STAFF), enroll(world, "ada", old, collection_id=STAFF)):
        told = await refused(call)
        assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_MISMATCH")
    assert (await verify(world, "ada", new, collection_id=STAFF)).decision.outcome == 1
    await enroll(world, "bob", embedded(turned(person(2)), OTHER), collection_id=STAFF)
    assert await seen(world, 2) == ["bob"]


async def test_who_is_enrolled_during_the_shadow_is_found_after_the_cut(world: World) -> None:
    """By pictures that came in between, without any step in between."""
    await enroll(world, "ada", probe_of(person(1)), collection_id=STAFF)
    await do(world, SHADOW)
    await enroll(world, "bob", probe_of(person(2)), collection_id=STAFF)
    await enroll(world, "ada", probe_of(person(1, 0.2)), collection_id=STAFF)
    assert (await do(world, CUT_OVER))[-1].templates_done == 3
    assert [await seen(world, 1), await seen(world, 2)] == [["ada"], ["bob"]]


async def test_a_cut_without_some_pictures_is_refused_with_what_would_allow_it(world: World) -> None:
    """TEMPLATES_MISSING says how many and names the field; with it the cut is made."""
    await enroll(world, "ada", probe_of(person(1)), collection_id=STAFF)
    await enroll(world, "eve", embedded(person(9)), collection_id=STAFF)
    assert (await do(world, SHADOW))[-1].templates_failed == 1
    told = await refused(do(world, CUT_OVER))
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TEMPLATES_MISSING")
    assert told.metadata["field"] == "accept_loss"
    assert await seen(world, 9) == ["eve"]
    assert (await do(world, CUT_OVER, accept_loss=True))[-1].templates_failed == 1
    assert (await refused(do(world, DISCARD))).reason == "TEMPLATES_MISSING"
    await do(world, ROLL_BACK)
    assert await seen(world, 9) == ["eve"]


async def test_a_caller_that_leaves_ends_the_step(world: World) -> None:
    """The lease is given back, and the same step again goes on."""
    for number in range(40):
        await enroll(world, f"p{number}", probe_of(person(number)), collection_id=STAFF)
    request = audit_pb2.ReembedRequest(collection_id=STAFF, target_model_id=OTHER, step=SHADOW)
    call = world.stub.Reembed(request)
    await call.read()
    call.cancel()

    async def is_done() -> bool:
        with contextlib.suppress(grpc.aio.AioRpcError):
            return (await do(world, SHADOW))[-1].templates_done == 40
        return False

    assert await eventually(is_done)


async def test_wrong_requests_are_told_by_their_field(world: World) -> None:
    """No step, no model, a collection that does not exist, a model that cannot decide."""
    assert (await refused(do(world, audit_pb2.REEMBED_STEP_UNSPECIFIED))).metadata["field"] == "step"
    assert (await refused(do(world, SHADOW, ""))).metadata["field"] == "target_model_id"
    assert (await refused(do(world, SHADOW, "face-x@1"))).reason == "NO_CALIBRATION"
    assert (await refused(do(world, COMPARE, compare_subjects=1_000_000))).metadata["field"] == "compare_subjects"
    request = audit_pb2.ReembedRequest(collection_id="nobody", target_model_id=OTHER, step=SHADOW)
    assert (await refused(world.stub.Reembed(request).read())).reason == "COLLECTION_NOT_FOUND"
