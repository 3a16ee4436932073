"""Persons over real gRPC: alone, beside faces, over a stream; networks that see bright rectangles, and tell colours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc
import numpy as np
import pytest
import pytest_asyncio

from encoder_svc.encoders import EncoderFacts, Encoders
from encoder_svc.explaining import Explainer
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.pipeline import Pipeline
from encoder_svc.servicer import EncoderServicer
from encoder_svc.streams import StreamRules
from encoder_svc.version import Parts
from tessera.chassis.channel import open_channel
from tessera.chassis.clock import SystemClock
from tessera.chassis.server import Server
from tessera.client.encoder import EncoderClient, Priority
from tessera.client.stream_values import EncodeOptions, FrameAnswer, FrameOutcome, FrameToEncode, KnownTracklet
from tessera.client.streams import EncodeStream
from tessera.domain.embedding import Modality
from tessera.domain.errors import ImageRejectedError
from tessera.domain.ids import CameraId, TrackletId
from tessera.domain.observation import Box
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2, encoder_pb2, encoder_pb2_grpc
from tessera.v1 import encoder_pb2 as pb
from tests.encoder_world import build_parts, encoder_settings, manifest_named, see
from tests.encoder_world import pipeline_of as face_pipeline_of
from tests.person_world import GREEN, MANIFEST, NAME, RED, pipeline_of, png, scene

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

FACES = manifest_named("face-test")
LEFT, RIGHT = Box(0, 0, 96, 200), Box(400, 96, 80, 160)
PICTURE = png(np.maximum(scene([(LEFT, RED), (RIGHT, GREEN)]), np.uint8(50)))
"""The pretended detector of faces sees two at the upper left, where one person stands; another stands at the right."""


def see_inside(batch: object) -> object:
    """The pretended detector's faces, moved into the picture from its upper edge."""
    output = see(batch)  # type: ignore[arg-type]
    output[..., 2:4] = 1.0
    return output


@pytest.fixture(scope="module")
def parts() -> Parts:
    """Of the service below."""
    return build_parts(lanes=2)


@pytest.fixture(scope="module")
def counts(parts: Parts) -> EncoderMetrics:
    """What the service below counts."""
    return parts.metrics


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(parts: Parts) -> AsyncIterator[str]:
    """An encoder service with one encoder of faces and one of persons."""
    clock = SystemClock()
    manifests = {FACES.name: FACES, NAME: MANIFEST}

    async def load(facts: EncoderFacts) -> Pipeline:
        if facts.manifest is MANIFEST:
            return pipeline_of(MANIFEST)
        return face_pipeline_of(FACES, see_inside)  # type: ignore[arg-type]

    encoders = Encoders(lambda name: EncoderFacts(manifests[name], ""), load, parts)
    rules = StreamRules(2, 4, 30.0, 4)
    servicer = EncoderServicer(encoders, Explainer(encoders, parts), rules, clock=clock, metrics=parts.metrics)
    served = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"]

    def add(server: grpc.aio.Server) -> None:
        encoder_pb2_grpc.add_EncoderServiceServicer_to_server(servicer, server)

    server = Server(encoder_settings().server, parts.metrics, [served], add)
    parts.scheduler.start()
    for name in manifests:
        encoders.load(name)
    await encoders.loaded()
    await server.start()
    await server.set_ready(True)
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        encoders.drain()
        await server.stop()
        await encoders.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """To it."""
    async with open_channel(address) as opened:
        yield opened


async def test_persons_alone_are_a_modality_like_any(channel: grpc.aio.Channel) -> None:
    """The modality names the encoder; nothing is said of faces."""
    client = EncoderClient(channel)
    answer = await client.encode(PICTURE, priority=Priority.INTERACTIVE, deadline_s=30.0, modality=Modality.PERSON)
    assert answer.model_id == MANIFEST.model_id
    assert [one.box.iou(box) > 0.9 for one, box in zip(answer.observations, (LEFT, RIGHT), strict=True)] == [True, True]
    assert answer.persons is None
    (listed,) = await client.list_encoders(Modality.PERSON)
    assert (listed.name, listed.default, listed.dimensions) == (NAME, True, MANIFEST.dimensions)


async def test_a_picture_of_a_door_gives_faces_and_persons(channel: grpc.aio.Channel) -> None:
    """One call, and a face says whose it is: of two in one box, one."""
    client = EncoderClient(channel)
    answer = await client.encode(PICTURE, priority=Priority.INTERACTIVE, deadline_s=30.0, with_persons=True)
    assert answer.model_id == FACES.model_id
    assert answer.persons is not None
    assert {face.person for face in answer.observations} == {0, None}
    assert answer.persons[0].box.iou(LEFT) > 0.9
    assert all(one.embedding is not None and one.embedding.model_id == MANIFEST.model_id for one in answer.persons)


async def test_without_a_word_nobody_looks_for_persons(channel: grpc.aio.Channel) -> None:
    """A face stream costs what it did."""
    answer = await EncoderClient(channel).encode(PICTURE, priority=Priority.INTERACTIVE, deadline_s=30.0)
    assert answer.persons is None
    assert answer.observations[0].person is None


def _frame(frame_id: int, known: tuple[KnownTracklet, ...] = ()) -> FrameToEncode:
    return FrameToEncode(frame_id, PICTURE, datetime.now(UTC), 30.0, known)


async def _answers(stream: EncodeStream, *frames: FrameToEncode) -> list[FrameAnswer]:
    for frame in frames:
        await stream.wait_for_credit()
        await stream.send(frame)
    await stream.half_close()
    return [answer async for answer in stream]


async def test_a_cameras_frames_give_both(channel: grpc.aio.Channel) -> None:
    """The opening names both models; a known tracklet of persons is not embedded again."""
    options = EncodeOptions(persons=EncodeOptions(modality=Modality.PERSON))
    known = KnownTracklet(TrackletId("t-1"), RIGHT, 1.0, Modality.PERSON)
    async with EncodeStream(channel, CameraId("door"), options) as stream:
        assert (stream.model_id, stream.persons_model_id) == (FACES.model_id, MANIFEST.model_id)
        first, second = await _answers(stream, _frame(1), _frame(2, (known,)))
    assert first.outcome is second.outcome is FrameOutcome.ENCODED
    assert first.persons is not None
    assert second.persons is not None
    assert [one.embedding is None for one in first.persons] == [False, False]
    assert [one.embedding is None for one in second.persons] == [False, True]
    assert {face.person for face in first.observations} == {0, None}


async def test_a_stream_of_persons_alone(channel: grpc.aio.Channel) -> None:
    """For a camera that looks from above, where no face is seen."""
    async with EncodeStream(channel, CameraId("hall"), EncodeOptions(modality=Modality.PERSON)) as stream:
        (answer,) = await _answers(stream, _frame(1))
    assert stream.persons_model_id == ""
    assert [one.box.iou(box) > 0.9 for one, box in zip(answer.observations, (LEFT, RIGHT), strict=True)] == [True, True]


@pytest.mark.parametrize(
    ("options", "persons", "field"),
    [
        pytest.param({"modality": "PERSON"}, {}, "persons", id="beside-persons"),
        pytest.param({}, {"modality": "SIGNATURE"}, "persons.modality", id="signatures"),
        pytest.param({}, {"max_observations": 65}, "persons.max_observations", id="too-many"),
    ],
)
async def test_what_cannot_go_beside_faces_is_refused(
    channel: grpc.aio.Channel, options: dict[str, str], persons: dict[str, object], field: str
) -> None:
    """The error names the field."""
    stub = encoder_pb2_grpc.EncoderServiceStub(channel)
    request = pb.EncodeRequest(
        image=biometrics_pb2.Image(data=PICTURE), options=_options(options), persons=_options(persons)
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Encode(request, timeout=30.0)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith(field + ":")


def _options(fields: dict[str, object]) -> pb.EncodeOptions:
    named = {key: value for key, value in fields.items() if key != "modality"}
    if "modality" in fields:
        named["modality"] = biometrics_pb2.Modality.Value(f"MODALITY_{fields['modality']}")
    return pb.EncodeOptions(**named)  # type: ignore[arg-type]


async def test_an_encoder_of_persons_that_is_not_there_is_named(channel: grpc.aio.Channel) -> None:
    """An answer without persons would read as nobody being there."""
    request = pb.EncodeRequest(image=biometrics_pb2.Image(data=PICTURE), persons=pb.EncodeOptions(model_id="person-0"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await encoder_pb2_grpc.EncoderServiceStub(channel).Encode(request, timeout=30.0)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_person_is_explained_like_a_face(channel: grpc.aio.Channel) -> None:
    """The map lies over the person as cut; two persons in the picture are refused."""
    client = EncoderClient(channel)
    alone = png(scene([(RIGHT, GREEN)]))
    seen = await client.encode(alone, priority=Priority.ENROLMENT, deadline_s=30.0, modality=Modality.PERSON)
    reference = seen.observations[0].embedding
    assert reference is not None
    told = await client.explain(alone, reference, deadline_s=50.0, modality=Modality.PERSON, grid=4)
    assert told.map.weights.shape == (4, 4)
    with pytest.raises(ImageRejectedError) as caught:
        await client.explain(PICTURE, reference, deadline_s=50.0, modality=Modality.PERSON, grid=4)
    assert caught.value.reason is Reason.EXCEEDS_MAX_PERSONS


async def test_persons_beside_faces_are_counted_apart(channel: grpc.aio.Channel, counts: EncoderMetrics) -> None:
    """A page that counted them as faces would say that people who turn their backs are seen from the front."""

    def counted(name: str) -> float:
        return counts.registry.get_sample_value(f"tessera_encoder_{name}_total", {"embedded": "yes"}) or 0.0

    before = {name: counted(name) for name in ("faces", "persons")}
    await EncoderClient(channel).encode(PICTURE, priority=Priority.INTERACTIVE, deadline_s=30.0, with_persons=True)
    assert {name: counted(name) - before[name] for name in before} == {"faces": 2.0, "persons": 2.0}
