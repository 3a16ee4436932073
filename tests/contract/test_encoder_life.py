"""Encoders that come and go, over real gRPC: LoadEncoder, UnloadEncoder and ListEncoders with the shipped weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from encoder_svc.__main__ import RunningEncoder, running
from tessera.chassis.channel import open_channel
from tessera.chassis.encoder_folders import ENCODERS_DIR_VARIABLE
from tessera.chassis.status import StatusDetail, detail_of
from tessera.domain.artifact import MANIFEST_FILE, Manifest, model_id_of
from tessera.domain.errors import ArtifactError
from tessera.v1 import biometrics_pb2
from tessera.v1 import encoder_pb2 as pb
from tessera.v1.encoder_pb2_grpc import EncoderServiceStub
from tests.encoder_world import encoder_settings
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(400)

LIMIT_S = 90.0
SHIPPED = "face-sface-1"
READY, LOADING = pb.ENCODER_STATE_READY, pb.ENCODER_STATE_LOADING


def put_encoder(folder: Path, name: str, **changes: object) -> str:
    """Put the shipped encoder under another name into a folder; return its model id."""
    shipped = resources.files("tessera") / "artifacts" / SHIPPED / MANIFEST_FILE
    raw: dict[str, Any] = json.loads(shipped.read_text(encoding="utf-8")) | {"name": name} | changes
    raw["model_id"] = model_id_of(raw)
    (folder / name).mkdir(exist_ok=True)
    (folder / name / MANIFEST_FILE).write_text(json.dumps(raw), encoding="utf-8")
    return str(raw["model_id"])


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is ready, a client of it, and the folder that it finds other encoders in."""

    running: RunningEncoder
    stub: EncoderServiceStub
    folder: Path

    async def listed(self) -> list[tuple[str, int]]:
        """Model ids and their states."""
        encoders = (await self.stub.ListEncoders(pb.ListEncodersRequest())).encoders
        return [(encoder.model_id, encoder.state) for encoder in encoders]

    async def until(self, *encoders: tuple[str, int]) -> None:
        """Wait until just these are listed."""

        async def are() -> bool:
            return sorted(await self.listed()) == sorted(encoders)

        await eventually(are, LIMIT_S)

    async def load(self, name: str, **fields: Any) -> pb.Encoder:
        """Load an encoder, and wait until it is there."""
        loading = await self.stub.LoadEncoder(pb.LoadEncoderRequest(name=name, **fields))
        await asyncio.wait_for(self.running.encoders.loaded(), LIMIT_S)
        return loading.encoder


@asynccontextmanager
async def serving(folder: Path, **settings: object) -> AsyncIterator[Service]:
    """A service of its own."""
    # Small, since every load warms up all usual shapes.
    small = encoder_settings(encoder=SHIPPED, detect_side_px=320, **settings)
    async with running(small) as started, open_channel(f"127.0.0.1:{started.server.port}") as channel:

        async def ready() -> bool:
            return started.encoders.ready()

        await eventually(ready, LIMIT_S)
        yield Service(started, EncoderServiceStub(channel), folder)


@pytest_asyncio.fixture
async def service(
    face_weights: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    """With the shipped encoder alone."""
    monkeypatch.setenv(ENCODERS_DIR_VARIABLE, str(tmp_path))
    async with serving(tmp_path) as made:
        yield made


async def _refusal(call: Any) -> StatusDetail:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return detail_of(caught.value)


def _request(data: bytes, model_id: str = "") -> pb.EncodeRequest:
    return pb.EncodeRequest(image=biometrics_pb2.Image(data=data), options=pb.EncodeOptions(model_id=model_id))


async def test_a_second_encoder_comes_and_goes(
    service: Service, portraits: Mapping[str, bytes], face_manifest: Manifest
) -> None:
    """Loaded at once in the background, listed, used by its model id or name, unloaded, and gone."""
    other = put_encoder(service.folder, "face-other")
    loading = await service.load("face-other", priority=2)
    assert (loading.model_id, loading.state, loading.priority, loading.default) == (other, LOADING, 2, False)
    await service.until((face_manifest.model_id, READY), (other, READY))
    encoders = (await service.stub.ListEncoders(pb.ListEncodersRequest())).encoders
    (listed,) = [encoder for encoder in encoders if encoder.model_id == other]
    assert (listed.device, listed.runtime, listed.priority, listed.default) == ("cpu", "eager", 2, False)
    for wanted in (other, "face-other"):
        answer = await service.stub.Encode(_request(portraits["biden.jpg"], wanted))
        assert (answer.model_id, len(answer.observations)) == (other, 1)
    assert (await service.stub.UnloadEncoder(pb.UnloadEncoderRequest(model_id=other))).unloaded
    assert not (await service.stub.UnloadEncoder(pb.UnloadEncoderRequest(model_id=other))).unloaded
    await service.until((face_manifest.model_id, READY))
    refused = await _refusal(service.stub.Encode(_request(portraits["biden.jpg"], other)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "ENCODER_NOT_FOUND")


async def test_another_encoder_can_be_made_the_default(
    service: Service, portraits: Mapping[str, bytes], face_manifest: Manifest
) -> None:
    """Then the first one can be unloaded; before that it cannot."""
    other = put_encoder(service.folder, "face-other")
    request = pb.UnloadEncoderRequest(model_id=face_manifest.model_id)
    refused = await _refusal(service.stub.UnloadEncoder(request))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ENCODER_IS_DEFAULT")
    assert (refused.metadata["field"], refused.metadata["value"]) == ("model_id", face_manifest.model_id)
    await service.load("face-other", make_default=True)
    assert (await service.stub.Encode(_request(portraits["biden.jpg"]))).model_id == other
    assert (await service.stub.UnloadEncoder(request)).unloaded
    await service.until((other, READY))


async def test_what_cannot_be_loaded_is_told(service: Service) -> None:
    """No such encoder, one that is being loaded, one whose files are broken: each by its reason."""
    refused = await _refusal(service.stub.LoadEncoder(pb.LoadEncoderRequest(name="face-x")))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "ENCODER_NOT_FOUND")
    assert refused.metadata["value"] == "face-x"
    await service.stub.LoadEncoder(pb.LoadEncoderRequest(name=SHIPPED))
    refused = await _refusal(service.stub.LoadEncoder(pb.LoadEncoderRequest(name=SHIPPED)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ENCODER_LOADING")
    assert refused.metadata["field"] == "name"
    put_encoder(service.folder, "face-broken")
    (service.folder / "face-broken" / MANIFEST_FILE).write_text("{}", encoding="utf-8")
    refused = await _refusal(service.stub.LoadEncoder(pb.LoadEncoderRequest(name="face-broken")))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ENCODER_UNUSABLE")
    assert "manifest" in refused.metadata["allowed"]


async def test_an_encoder_that_fails_is_listed_with_the_cause(service: Service, face_manifest: Manifest) -> None:
    """The others serve on; it can be taken off the list."""
    failed = put_encoder(service.folder, "face-old", preprocessing="face-112-0")
    with pytest.raises(ArtifactError):
        await service.load("face-old")
    encoders = (await service.stub.ListEncoders(pb.ListEncodersRequest())).encoders
    (listed,) = [encoder for encoder in encoders if encoder.model_id == failed]
    assert listed.state == pb.ENCODER_STATE_FAILED
    assert "face-112-0" in listed.state_detail
    assert service.running.encoders.ready()
    assert (await service.stub.UnloadEncoder(pb.UnloadEncoderRequest(model_id=failed))).unloaded
    await service.until((face_manifest.model_id, READY))


async def test_streams_of_an_encoder_that_goes_are_answered_and_ended(
    service: Service, portraits: Mapping[str, bytes]
) -> None:
    """UNAVAILABLE after the last answer: the camera opens a new one. Streams of others and of a new version go on."""
    other = put_encoder(service.folder, "face-other")
    await service.load("face-other")
    frame = pb.Frame(frame_id=1, image=biometrics_pb2.Image(data=portraits["biden.jpg"]))
    frame.expires_after.FromSeconds(30)
    streams = {}
    for wanted in ("", other):
        streams[wanted] = service.stub.EncodeStream()
        opening = pb.StreamOpen(camera_id="door", options=pb.EncodeOptions(model_id=wanted))
        await streams[wanted].write(pb.EncodeStreamRequest(open=opening))
        assert (await streams[wanted].read()).HasField("opened")
    await service.load("face-other")
    await service.load(SHIPPED)
    for stream in streams.values():
        await stream.write(pb.EncodeStreamRequest(frame=frame))
        assert (await stream.read()).result.HasField("encoded")
        assert (await stream.read()).HasField("credit")
    assert (await service.stub.UnloadEncoder(pb.UnloadEncoderRequest(model_id=other))).unloaded
    ended = await _refusal(streams[other].read())
    assert (ended.code, ended.reason) == (grpc.StatusCode.UNAVAILABLE, "ENCODER_UNAVAILABLE")
    frame.frame_id = 2
    await streams[""].write(pb.EncodeStreamRequest(frame=frame))
    assert (await streams[""].read()).result.HasField("encoded")
    await streams[""].done_writing()


async def test_settings_may_name_more_encoders(
    face_weights: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, face_manifest: Manifest
) -> None:
    """They are loaded at the start with their priorities; the first named answers when none is."""
    monkeypatch.setenv(ENCODERS_DIR_VARIABLE, str(tmp_path))
    other = put_encoder(tmp_path, "face-other")
    async with serving(tmp_path, more_encoders="face-other:4") as service:
        await service.until((face_manifest.model_id, READY), (other, READY))
        encoders = (await service.stub.ListEncoders(pb.ListEncodersRequest())).encoders
        assert {(e.name, e.priority, e.default) for e in encoders} == {(SHIPPED, 0, True), ("face-other", 4, False)}


async def test_a_service_that_drains_changes_no_encoders(service: Service) -> None:
    """UNAVAILABLE; it is listed as DRAINING until the end."""
    service.running.encoders.drain()
    refused = await _refusal(service.stub.LoadEncoder(pb.LoadEncoderRequest(name=SHIPPED), timeout=5))
    assert refused.code is grpc.StatusCode.UNAVAILABLE
    assert [state for _, state in await service.listed()] == [pb.ENCODER_STATE_DRAINING]
