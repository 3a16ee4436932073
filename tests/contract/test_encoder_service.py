"""The encoder's contract, over real gRPC on loopback with the real weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from encoder_svc.__main__ import RunningEncoder, running
from encoder_svc.encoders import EncoderState
from tessera.chassis.channel import open_channel
from tessera.chassis.pinned_files import default_cache_dir
from tessera.chassis.status import StatusDetail, detail_of
from tessera.client.wire import seconds_to_wire, time_to_wire
from tessera.domain.artifact import Manifest
from tessera.v1 import biometrics_pb2, encoder_pb2
from tessera.v1 import encoder_pb2 as pb
from tessera.v1.encoder_pb2_grpc import EncoderServiceStub
from tests.encoder_world import encoder_settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

Requests = list[pb.EncodeStreamRequest]


async def _until(condition: Callable[[], bool], limit_s: float = 90.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - the state belongs to threads and other tasks
            await asyncio.sleep(0.01)


def _taken(encoder: RunningEncoder, work_class: str) -> bool:
    """Whether an encoder has taken a picture: it is under way, or answered already."""
    value = encoder.metrics.registry.get_sample_value
    answered = {"work_class": work_class, "outcome": "encoded", "reason": ""}
    return value("tessera_encoder_pending", {"work_class": work_class}) == 1.0 or bool(
        value("tessera_encoder_frames_total", answered)
    )


async def _ready(encoder: RunningEncoder) -> RunningEncoder:
    await _until(encoder.encoders.ready)
    return encoder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encoder(face_weights: Mapping[str, Path]) -> AsyncIterator[RunningEncoder]:
    """One encoder for the tests that need no settings of their own."""
    async with running(encoder_settings()) as started:
        yield await _ready(started)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(encoder: RunningEncoder) -> AsyncIterator[EncoderServiceStub]:
    """A client of it."""
    async with open_channel(f"127.0.0.1:{encoder.server.port}") as channel:
        yield EncoderServiceStub(channel)


def _image(data: bytes) -> biometrics_pb2.Image:
    return biometrics_pb2.Image(data=data)


def _jpeg(image: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".jpg", image)
    assert ok
    return data.tobytes()


def _side_by_side(*portraits: bytes) -> bytes:
    images = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in portraits]
    return _jpeg(np.hstack([cv2.resize(image, (480, 600)) for image in images if image is not None]))


def _vector(observation: biometrics_pb2.Observation) -> np.ndarray:
    return np.array(observation.embedding.values)


async def _refusal(call: object) -> StatusDetail:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return detail_of(caught.value)


# ---- Encode


async def test_a_portrait_gives_one_whole_observation(
    stub: EncoderServiceStub, portraits: Mapping[str, bytes], default_manifest: Manifest
) -> None:
    """Box, landmarks inside it, probability, quality without complaint, a unit embedding, sizes and stage times."""
    answer = await stub.Encode(pb.EncodeRequest(image=_image(portraits["obama2.jpg"])))
    assert answer.model_id == default_manifest.model_id
    image = cv2.imdecode(np.frombuffer(portraits["obama2.jpg"], np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert (answer.height_px, answer.width_px) == image.shape[:2]
    (face,) = answer.observations
    assert len(face.landmarks) == 5
    for point in face.landmarks:
        assert face.box.x_px <= point.x_px <= face.box.x_px + face.box.width_px
        assert face.box.y_px <= point.y_px <= face.box.y_px + face.box.height_px
    assert 0.8 < face.detection_probability <= 1.0
    assert list(face.quality.reasons) == []
    assert len(face.embedding.values) == default_manifest.dimensions
    assert np.linalg.norm(_vector(face)) == pytest.approx(1.0, abs=1e-5)
    stages = answer.stage_times
    assert min(stages.decode_ms, stages.detect_ms, stages.align_ms, stages.quality_ms, stages.embed_ms) > 0
    assert stages.total_ms >= stages.decode_ms + stages.detect_ms + stages.embed_ms


async def test_the_same_person_scores_above_another(stub: EncoderServiceStub, portraits: Mapping[str, bytes]) -> None:
    """Two photographs of one man are far closer than those of two men."""
    vectors = {}
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg"):
        answer = await stub.Encode(pb.EncodeRequest(image=_image(portraits[name])))
        vectors[name] = _vector(answer.observations[0])
    assert vectors["obama.jpg"] @ vectors["obama2.jpg"] > 0.6
    assert vectors["obama.jpg"] @ vectors["biden.jpg"] < 0.35


async def test_several_faces_come_largest_first_and_capped(
    stub: EncoderServiceStub, portraits: Mapping[str, bytes]
) -> None:
    """Two faces in one picture are two observations; with a cap of one the larger stays."""
    image = _image(_side_by_side(portraits["obama2.jpg"], portraits["biden.jpg"]))
    both = await stub.Encode(pb.EncodeRequest(image=image))
    areas = [face.box.width_px * face.box.height_px for face in both.observations]
    assert len(areas) == 2
    assert areas == sorted(areas, reverse=True)
    one = await stub.Encode(pb.EncodeRequest(image=image, options=pb.EncodeOptions(max_observations=1)))
    assert [face.box for face in one.observations] == [both.observations[0].box]


async def test_embeddings_can_be_left_out(stub: EncoderServiceStub, portraits: Mapping[str, bytes]) -> None:
    """All of them, or those of faces too small."""
    for options in (pb.EncodeOptions(without_embedding=True), pb.EncodeOptions(min_side_px=5000)):
        answer = await stub.Encode(pb.EncodeRequest(image=_image(portraits["biden.jpg"]), options=options))
        assert len(answer.observations) == 1
        assert not answer.observations[0].HasField("embedding")


async def test_a_picture_without_a_face_is_answered(stub: EncoderServiceStub) -> None:
    """OK with no observations: whether that is bad is the caller's to say."""
    answer = await stub.Encode(pb.EncodeRequest(image=_image(_jpeg(np.full((300, 400, 3), 90, np.uint8)))))
    assert list(answer.observations) == []
    assert (answer.width_px, answer.height_px) == (400, 300)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "EMPTY_IMAGE"),
        (b"no picture at all", "NOT_AN_IMAGE"),
        (b"GIF89a" + b"\x00" * 64, "UNSUPPORTED_FORMAT"),
        (_jpeg(np.zeros((200, 200, 3), np.uint8))[:-40], "TRUNCATED_IMAGE"),
        (_jpeg(np.zeros((8, 200, 3), np.uint8)), "TOO_FEW_PIXELS"),
    ],
)
async def test_a_bad_picture_is_refused_with_its_reason(stub: EncoderServiceStub, data: bytes, reason: str) -> None:
    """INVALID_ARGUMENT, the reason code, and the field that held it."""
    detail = await _refusal(stub.Encode(pb.EncodeRequest(image=_image(data))))
    assert (detail.code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert detail.metadata["field"] == "image"


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (pb.EncodeOptions(max_observations=65), grpc.StatusCode.INVALID_ARGUMENT, "options.max_observations"),
        (pb.EncodeOptions(min_detection_probability=0), grpc.StatusCode.INVALID_ARGUMENT, "min_detection"),
        (pb.EncodeOptions(min_embedded_probability=1.5), grpc.StatusCode.INVALID_ARGUMENT, "min_embedded"),
        (pb.EncodeOptions(model_id="face-x@1"), grpc.StatusCode.NOT_FOUND, "face-x@1"),
        (pb.EncodeOptions(modality=biometrics_pb2.MODALITY_SIGNATURE), grpc.StatusCode.NOT_FOUND, "SIGNATURE"),
        (pb.EncodeOptions(modality=77), grpc.StatusCode.INVALID_ARGUMENT, "modality"),
    ],
)
async def test_wrong_options_name_their_field(
    stub: EncoderServiceStub, options: pb.EncodeOptions, code: grpc.StatusCode, text: str
) -> None:
    """Unknown models and modalities are not found; numbers out of range are invalid."""
    detail = await _refusal(stub.Encode(pb.EncodeRequest(image=_image(b"x"), options=options)))
    assert detail.code is code
    assert text in detail.message


async def test_the_encoder_is_listed(stub: EncoderServiceStub, default_manifest: Manifest) -> None:
    """State, licences and weight files; another modality lists nothing."""
    (listed,) = (await stub.ListEncoders(pb.ListEncodersRequest())).encoders
    assert listed.model_id == default_manifest.model_id
    assert listed.state == encoder_pb2.ENCODER_STATE_READY
    assert list(listed.licences) == ["MIT", "Apache-2.0"]
    assert [weight.sha256 for weight in listed.weights] == [
        default_manifest.detector.sha256,
        default_manifest.embedder.sha256,
    ]
    assert listed.device == "cpu"
    signatures = await stub.ListEncoders(pb.ListEncodersRequest(modality=biometrics_pb2.MODALITY_SIGNATURE))
    assert list(signatures.encoders) == []


# ---- EncodeStream


def _open(**fields: object) -> pb.EncodeStreamRequest:
    return pb.EncodeStreamRequest(open=pb.StreamOpen(camera_id="front-door", **fields))  # type: ignore[arg-type]


def _frame(frame_id: int, data: bytes, age_s: float = 0.0, expires_after_s: float = 30.0) -> pb.EncodeStreamRequest:
    return pb.EncodeStreamRequest(
        frame=pb.Frame(
            frame_id=frame_id,
            image=_image(data),
            capture_time=time_to_wire(datetime.now(UTC) - timedelta(seconds=age_s)),
            expires_after=seconds_to_wire(expires_after_s),
        )
    )


async def _talk(stub: EncoderServiceStub, requests: Requests) -> list[pb.EncodeStreamResponse]:
    """Send all at once, half-close, and collect the answers."""
    call = stub.EncodeStream(iter(requests))
    return [response async for response in call]


def _results(responses: list[pb.EncodeStreamResponse]) -> list[pb.FrameResult]:
    return [response.result for response in responses if response.HasField("result")]


async def test_a_stream_opens_with_credits_and_gives_each_back(
    stub: EncoderServiceStub, portraits: Mapping[str, bytes], default_manifest: Manifest
) -> None:
    """Opened first; then a result and a credit for each frame; the capture time comes back as sent."""
    frames = [_frame(1, portraits["obama2.jpg"]), _frame(5, portraits["biden.jpg"])]
    responses = await _talk(stub, [_open(), *frames])
    assert responses[0].opened.model_id == default_manifest.model_id
    assert responses[0].opened.credits == 2
    assert responses[0].opened.idle_limit.seconds == 30
    assert [r.WhichOneof("message") for r in responses[1:]] == ["result", "credit"] * 2
    results = _results(responses)
    assert [r.frame_id for r in results] == [1, 5]
    assert [r.capture_time for r in results] == [f.frame.capture_time for f in frames]
    assert all(len(r.encoded.observations) == 1 for r in results)


@pytest.mark.parametrize(("wanted", "granted"), [(0, 2), (1, 1), (3, 3), (1000, 4)])
async def test_a_stream_may_want_more_under_way(stub: EncoderServiceStub, wanted: int, granted: int) -> None:
    """For a recording that is read as fast as it goes; no more than the server gives anybody."""
    (opened,) = await _talk(stub, [_open(wanted_credits=wanted)])
    assert opened.opened.credits == granted


async def test_every_frame_is_answered_once_in_order_whatever_becomes_of_it(
    stub: EncoderServiceStub, portraits: Mapping[str, bytes]
) -> None:
    """Encoded, expired, failed, and without credit: one answer each, and the stream lives on."""
    good = portraits["obama2.jpg"]
    call = stub.EncodeStream()
    await call.write(_open())
    opened = await call.read()
    assert opened.opened.credits == 2
    outcomes = []
    for frame in (_frame(1, good), _frame(2, good, age_s=40.0), _frame(3, b"broken"), _frame(4, good)):
        await call.write(frame)
        result, credit = (await call.read()).result, (await call.read()).credit
        assert credit.credits == 1
        outcomes.append((result.frame_id, result.WhichOneof("outcome")))
        if result.frame_id == 2:
            assert 39 < result.expired.age.seconds < 60
        if result.frame_id == 3:
            assert result.failed.reason == biometrics_pb2.REASON_NOT_AN_IMAGE
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert outcomes == [(1, "encoded"), (2, "expired"), (3, "failed"), (4, "encoded")]


async def test_frames_without_credit_are_skipped_and_counted(
    stub: EncoderServiceStub, encoder: RunningEncoder, portraits: Mapping[str, bytes]
) -> None:
    """A client that floods gets an answer for every frame; those beyond its credits say NO_CREDIT."""
    labels = {"work_class": "stream", "outcome": "skipped", "reason": "NO_CREDIT"}
    registry = encoder.metrics.registry
    before = registry.get_sample_value("tessera_encoder_frames_total", labels) or 0.0
    responses = await _talk(stub, [_open(), *(_frame(n, portraits["obama2.jpg"]) for n in range(1, 13))])
    results = _results(responses)
    assert [r.frame_id for r in results] == list(range(1, 13))
    skipped = [r for r in results if r.HasField("skipped")]
    assert skipped
    assert all(r.skipped.reason == biometrics_pb2.REASON_NO_CREDIT for r in skipped)
    assert registry.get_sample_value("tessera_encoder_frames_total", labels) == before + len(skipped)
    credits_given = sum(r.credit.credits for r in responses if r.HasField("credit"))
    assert credits_given == 12 - len(skipped)


async def test_a_known_tracklet_is_not_embedded_again(stub: EncoderServiceStub, portraits: Mapping[str, bytes]) -> None:
    """Seen where it was predicted: named, measured, not embedded; clearly better than its best: embedded."""
    plain = _results(await _talk(stub, [_open(), _frame(1, portraits["biden.jpg"])]))[0].encoded.observations[0]
    for best_quality, embedded in ((plain.quality.overall, False), (plain.quality.overall - 0.2, True)):
        request = _frame(2, portraits["biden.jpg"])
        request.frame.known_tracklets.append(
            pb.KnownTracklet(tracklet_id="t-7", predicted_box=plain.box, best_quality=best_quality)
        )
        (result,) = _results(await _talk(stub, [_open(), request]))
        (face,) = result.encoded.observations
        assert face.tracklet_id == "t-7"
        assert face.HasField("embedding") is embedded


def _with_known(request: pb.EncodeStreamRequest, count: int) -> pb.EncodeStreamRequest:
    request.frame.known_tracklets.extend(pb.KnownTracklet(tracklet_id=f"t-{at}") for at in range(count))
    return request


@pytest.mark.parametrize(
    ("requests", "text"),
    [
        ([_frame(1, b"x")], "open"),
        ([], "open"),
        ([_open(), _open()], "frame"),
        ([_open(), _frame(2, b"x"), _frame(2, b"x")], "frame.frame_id"),
        ([_open(resume_after_frame_id=9), _frame(9, b"x")], "more than 9"),
        ([_open(), _frame(1, b"x", expires_after_s=61)], "frame.expires_after"),
        ([_open(), _with_known(_frame(1, b"x"), 1025)], "frame.known_tracklets"),
    ],
)
async def test_a_breach_of_the_contract_ends_the_stream(
    stub: EncoderServiceStub, requests: Requests, text: str
) -> None:
    """INVALID_ARGUMENT, and the message says what would have been right."""
    detail = await _refusal(_talk(stub, requests))
    assert detail.code is grpc.StatusCode.INVALID_ARGUMENT
    assert text in detail.message


async def test_a_client_that_goes_away_leaves_nothing_behind(
    stub: EncoderServiceStub, encoder: RunningEncoder, portraits: Mapping[str, bytes]
) -> None:
    """Cancelled with frames under way: streams and credits return to zero, and the next call is served."""
    call = stub.EncodeStream()
    await call.write(_open())
    await call.read()
    await call.write(_frame(1, portraits["obama2.jpg"]))
    await call.write(_frame(2, portraits["obama2.jpg"]))
    call.cancel()
    registry = encoder.metrics.registry
    for name in ("tessera_encoder_streams", "tessera_encoder_credits_in_use"):
        await _until(lambda name=name: registry.get_sample_value(name) == 0.0)  # type: ignore[misc]
    answer = await stub.Encode(pb.EncodeRequest(image=_image(portraits["biden.jpg"])))
    assert len(answer.observations) == 1


async def test_a_silent_stream_is_ended(face_weights: Mapping[str, Path]) -> None:
    """DEADLINE_EXCEEDED with STREAM_SILENT, after the idle limit that the opening told."""
    async with running(encoder_settings(stream_idle_s=0.2)) as started:
        await _ready(started)
        async with open_channel(f"127.0.0.1:{started.server.port}") as channel:
            call = EncoderServiceStub(channel).EncodeStream()
            await call.write(_open())
            assert (await call.read()).opened.idle_limit.nanos == 200_000_000
            detail = await _refusal(call.read())
            assert (detail.code, detail.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_SILENT")


async def test_a_call_that_opens_no_stream_is_ended_too(face_weights: Mapping[str, Path]) -> None:
    """A client that connects and says nothing is as silent as one that stops."""
    settings = encoder_settings(stream_idle_s=0.2)
    async with running(settings) as started, open_channel(f"127.0.0.1:{started.server.port}") as channel:
        detail = await _refusal(EncoderServiceStub(channel).EncodeStream().read())
        assert (detail.code, detail.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_SILENT")


async def test_what_a_client_says_it_dropped_is_counted(
    stub: EncoderServiceStub, encoder: RunningEncoder, portraits: Mapping[str, bytes]
) -> None:
    """Frames that it sampled and did not send since the last one."""
    name = "tessera_encoder_client_drops_total"
    before = encoder.metrics.registry.get_sample_value(name) or 0.0
    frames = [_frame(1, portraits["biden.jpg"]), _frame(9, portraits["biden.jpg"])]
    frames[1].frame.dropped_since_last = 7
    await _talk(stub, [_open(), *frames])
    assert encoder.metrics.registry.get_sample_value(name) == before + 7.0


async def test_one_stream_too_many_is_refused_and_the_others_live(
    face_weights: Mapping[str, Path], portraits: Mapping[str, bytes]
) -> None:
    """RESOURCE_EXHAUSTED with STREAM_LIMIT; the open stream still encodes; a place that is left can be taken."""
    async with running(encoder_settings(max_streams=1, stream_credits=1)) as started:
        await _ready(started)
        async with open_channel(f"127.0.0.1:{started.server.port}") as channel:
            stub = EncoderServiceStub(channel)
            first = stub.EncodeStream()
            await first.write(_open())
            assert (await first.read()).opened.credits == 1
            detail = await _refusal(_talk(stub, [_open()]))
            assert (detail.code, detail.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STREAM_LIMIT")
            await first.write(_frame(1, portraits["biden.jpg"]))
            assert (await first.read()).result.HasField("encoded")
            await first.done_writing()
            while await first.read() is not grpc.aio.EOF:
                continue
            assert len(_results(await _talk(stub, [_open(), _frame(1, portraits["biden.jpg"])]))) == 1


async def test_draining_answers_what_is_under_way_and_says_unavailable(
    face_weights: Mapping[str, Path], portraits: Mapping[str, bytes]
) -> None:
    """A stream gets the answer to its frame and then UNAVAILABLE; a new call gets UNAVAILABLE at once."""
    async with running(encoder_settings()) as started:
        await _ready(started)
        async with open_channel(f"127.0.0.1:{started.server.port}") as channel:
            stub = EncoderServiceStub(channel)
            call = stub.EncodeStream()
            await call.write(_open())
            await call.read()
            await call.write(_frame(1, portraits["biden.jpg"]))
            await _until(lambda: _taken(started, "stream"))
            started.encoders.drain()
            assert (await call.read()).result.HasField("encoded")
            assert (await call.read()).HasField("credit")
            assert (await _refusal(call.read())).code is grpc.StatusCode.UNAVAILABLE
            refused = await _refusal(stub.Encode(pb.EncodeRequest(image=_image(portraits["biden.jpg"])), timeout=5))
            assert refused.code is grpc.StatusCode.UNAVAILABLE


# ---- start


async def test_health_says_serving_only_when_warm(face_weights: Mapping[str, Path]) -> None:
    """It listens at once, refuses work while it loads, and serves afterwards."""
    async with running(encoder_settings()) as started, open_channel(f"127.0.0.1:{started.server.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        loading = await health.Check(health_pb2.HealthCheckRequest(service="tessera.v1.EncoderService"))
        assert loading.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await _ready(started)
        await _until(lambda: started.metrics.registry.get_sample_value("tessera_ready") == 1.0)
        warm = await health.Check(health_pb2.HealthCheckRequest(service="tessera.v1.EncoderService"))
        assert warm.status == health_pb2.HealthCheckResponse.SERVING


async def test_weights_that_cannot_be_had_are_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portraits: Mapping[str, bytes]
) -> None:
    """FAILED with the cause while they are missing; READY once somebody supplied them by hand."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    supplied = tmp_path / "supplied"
    supplied.mkdir()
    settings = encoder_settings(cache_dir=tmp_path / "cache", supplied_dir=supplied, load_retry_s=0.1)
    async with running(settings) as started:
        await _until(lambda: EncoderState.FAILED in {status.state for status in started.encoders.statuses()})
        async with open_channel(f"127.0.0.1:{started.server.port}") as channel:
            stub = EncoderServiceStub(channel)
            (listed,) = (await stub.ListEncoders(pb.ListEncodersRequest())).encoders
            assert "TESSERA_SUPPLIED_DIR" in listed.state_detail or listed.state == encoder_pb2.ENCODER_STATE_LOADING
            for path in default_cache_dir().glob("pinned/*/*.onnx"):
                (supplied / path.name).write_bytes(path.read_bytes())
            await _ready(started)
            answer = await stub.Encode(pb.EncodeRequest(image=_image(portraits["biden.jpg"])))
            assert len(answer.observations) == 1
