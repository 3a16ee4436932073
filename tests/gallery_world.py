"""A gallery with everything around it: real gRPC on both sides, a real store, and an encoder that reads notes.

The encoder of this world takes a picture whose bytes are a note about who is in it, so that a test says what is seen.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from redis.asyncio import Redis

from gallery_svc.service import RunningGallery, running_gallery
from gallery_svc.settings import DurabilityWord, GallerySettings
from gallery_svc.thresholds import Thresholds
from tessera.chassis.channel import open_channel
from tessera.chassis.clock import SystemClock
from tessera.chassis.status import StatusDetail, detail_of, rich_status
from tessera.client import wire
from tessera.client.encoder import EncoderClient
from tessera.domain.calibration import Calibration, CalibrationData, OperatingPoint
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.error_rates import Interval
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.observation import Box, Observation, Quality
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import encoder_pb2, encoder_pb2_grpc, events_pb2_grpc, gallery_pb2_grpc, matching_pb2, subject_pb2
from tests.valkey import PrivateServer

_KEYS_VARIABLE = "TESSERA_TEST_KEYS"
_KEYS = f"test {base64.b64encode(bytes(range(32))).decode()}"
"""The same for all galleries of a test run: they share stores."""

MODEL = ModelId("face-notes-1@0123456789ab")
DIMENSIONS = 32
_RATES = {0.2: 1e-1, 0.3: 1e-2, 0.4: 1e-3, 0.5: 1e-4, 0.6: 1e-5}

CALIBRATION = Calibration(
    calibration_id=CalibrationId("cal-notes-1"),
    model_id=MODEL,
    modality=Modality.FACE,
    created="2026-11-22",
    data=CalibrationData("notes", "0" * 64, 1000, 5000, 10_000, 1_000_000),
    points=tuple(
        OperatingPoint(score, fmr, Interval(fmr / 2, fmr * 2), 0.01, Interval(0.005, 0.02))
        for score, fmr in _RATES.items()
    ),
)
"""FMR 1e-2 at 0.3, 1e-3 at 0.4, 1e-4 at 0.5, 1e-5 at 0.6, and nothing stricter."""

THRESHOLDS = Thresholds([CALIBRATION], {Modality.FACE: MODEL}, {MODEL: DIMENSIONS})


def person(number: int, off: float = 0.0) -> list[float]:
    """A person's vector; `off` is the sine of the angle to it, so that the score with `person(number)` is known."""
    vector = np.zeros(DIMENSIONS)
    vector[number % DIMENSIONS] = np.sqrt(1.0 - off**2)
    vector[(number + 1) % DIMENSIONS] = off
    return [float(value) for value in vector]


def picture(*faces: list[float], reasons: Sequence[Reason] = (), overall: float = 0.9, error: str = "") -> pb.Image:
    """A picture of these faces, largest first, all of one quality; or one that the encoder refuses with `error`."""
    note = {"faces": faces, "reasons": [str(reason) for reason in reasons], "overall": overall, "error": error}
    return pb.Image(data=json.dumps(note).encode())


def probe_of(*faces: list[float], reasons: Sequence[Reason] = (), error: str = "") -> pb.Probe:
    """A picture as a probe."""
    return pb.Probe(image=picture(*faces, reasons=reasons, error=error))


def embedded(vector: list[float], model_id: str = MODEL) -> pb.Probe:
    """An embedding as a probe."""
    return pb.Probe(embedding=pb.Embedding(values=vector, model_id=model_id))


@dataclass(slots=True)
class NoteReader(encoder_pb2_grpc.EncoderServiceServicer):
    """An encoder that sees what the note says, and remembers how it was asked."""

    asked: list[encoder_pb2.EncodeRequest] = field(default_factory=list)
    explained: list[encoder_pb2.ExplainRequest] = field(default_factory=list)
    while_explaining: Callable[[], None] = lambda: None
    """What happens elsewhere meanwhile."""

    async def Encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> encoder_pb2.EncodeResponse:
        """Read one note."""
        self.asked.append(request)
        note = json.loads(request.image.data)
        if note["error"]:
            detail = StatusDetail(grpc.StatusCode.INVALID_ARGUMENT, note["error"], "refused", {"allowed": "a picture"})
            await context.abort_with_status(rich_status(detail))
        quality = Quality(0.9, 0.5, 0.5, 1.0, 0.9, note["overall"], tuple(Reason[name] for name in note["reasons"]))
        seen = [
            Observation(
                box=Box(10.0 * at, 0.0, 100.0 - at, 100.0 - at),
                landmarks=np.zeros((5, 2), dtype=np.float32),
                detection_probability=0.99,
                quality=quality,
                embedding=Embedding.from_raw(vector, MODEL),
            )
            for at, vector in enumerate(note["faces"])
        ]
        return encoder_pb2.EncodeResponse(
            observations=[wire.observation_to_wire(one) for one in seen][: request.options.max_observations],
            model_id=MODEL,
            width_px=640,
            height_px=480,
            stage_times=encoder_pb2.StageTimes(decode_ms=1.0, total_ms=2.0),
        )

    async def Explain(self, request: encoder_pb2.ExplainRequest, context: Any) -> encoder_pb2.ExplainResponse:
        """A map of no meaning over the one face of a note; what is no such note is refused as `Encode` and as the real
        one does."""
        self.explained.append(request)
        self.while_explaining()
        two = encoder_pb2.EncodeOptions(max_observations=2)
        seen = await self.Encode(encoder_pb2.EncodeRequest(image=request.image, options=two), context)
        self.asked.pop()
        if len(seen.observations) != 1:
            reason = "EXCEEDS_MAX_FACES" if seen.observations else "NO_FACE"
            metadata = {"field": "image", "allowed": "exactly one"}
            detail = StatusDetail(grpc.StatusCode.INVALID_ARGUMENT, reason, "refused", metadata)
            await context.abort_with_status(rich_status(detail))
        drawn = encoder_pb2.ExplanationMap(
            rows=2, columns=2, weights=[1.0, 0.5, 0.0, -0.5], overlay_png=b"png", method="notes", faithfulness=3.0
        )
        face = seen.observations[0]
        face.ClearField("embedding")
        return encoder_pb2.ExplainResponse(map=drawn, observation=face, model_id=MODEL)

    async def EncodeStream(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[encoder_pb2.EncodeStreamResponse]:
        """Not in this world."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        yield encoder_pb2.EncodeStreamResponse()

    async def ListEncoders(
        self, request: encoder_pb2.ListEncodersRequest, context: Any
    ) -> encoder_pb2.ListEncodersResponse:
        """One encoder, ready."""
        one = encoder_pb2.Encoder(
            model_id=MODEL,
            name="face-notes-1",
            modality=pb.MODALITY_FACE,
            dimensions=DIMENSIONS,
            state=encoder_pb2.ENCODER_STATE_READY,
            default=True,
        )
        return encoder_pb2.ListEncodersResponse(encoders=[one])


@dataclass(slots=True)
class World:
    """A gallery and those who call it."""

    gallery: RunningGallery
    encoder: NoteReader
    encoder_client: EncoderClient
    channel: grpc.aio.Channel
    stub: gallery_pb2_grpc.GalleryServiceAsyncStub
    events: events_pb2_grpc.EventServiceAsyncStub

    async def is_ready(self) -> bool:
        """Whether the gallery takes work."""
        return self.value("tessera_ready") == 1

    def value(self, name: str, **labels: str) -> float | None:
        """What a metric shows."""
        return self.gallery.metrics.registry.get_sample_value(name, labels)


@contextlib.asynccontextmanager
async def running_encoder() -> AsyncIterator[tuple[NoteReader, EncoderClient]]:
    """The encoder of this world, behind real gRPC."""
    reader = NoteReader()
    server = grpc.aio.server()
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(reader, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield reader, EncoderClient(channel)
    finally:
        await server.stop(None)


@contextlib.asynccontextmanager
async def running_world(store: str, thresholds: Thresholds = THRESHOLDS, **settings: Any) -> AsyncIterator[World]:
    """A gallery over `store`, an encoder, and channels; it may not be ready yet.

    Args:
        store: its URL.
        thresholds: the error rates.
        settings: of the gallery, instead of those of this world.
    """
    os.environ.setdefault(_KEYS_VARIABLE, _KEYS)
    common = {
        "keys": f"env:{_KEYS_VARIABLE}",
        "durability": DurabilityWord.EVERYSEC,
        "store_timeout_s": 8.0,
        "follow_interval_s": 0.02,
        "drain_s": 1.0,
    }
    chosen = GallerySettings(**({"port": 0, "metrics_port": 0, "store": store} | common | settings))
    async with (
        running_encoder() as (encoder, encoder_client),
        running_gallery(chosen, encoder_client, thresholds, SystemClock()) as gallery,
        open_channel(f"127.0.0.1:{gallery.server.port}") as channel,
    ):
        yield World(
            gallery=gallery,
            encoder=encoder,
            encoder_client=encoder_client,
            channel=channel,
            stub=gallery_pb2_grpc.GalleryServiceStub(channel),
            events=events_pb2_grpc.EventServiceStub(channel),
        )


async def enroll(world: World, subject_id: str, *samples: pb.Probe, **fields: Any) -> subject_pb2.EnrollSubjectResponse:
    """Enrol, into the default collection unless another is named."""
    request = subject_pb2.EnrollSubjectRequest(subject_id=subject_id, samples=samples, **fields)
    return await world.stub.EnrollSubject(request)


async def verify(world: World, subject_id: str, probe: pb.Probe, **fields: Any) -> matching_pb2.VerifyResponse:
    """Verify, against the default collection unless another is named."""
    return await world.stub.Verify(matching_pb2.VerifyRequest(subject_id=subject_id, probe=probe, **fields))


async def identify(world: World, probe: pb.Probe, **fields: Any) -> matching_pb2.IdentifyResponse:
    """Search the default collection, unless another is named."""
    return await world.stub.Identify(matching_pb2.IdentifyRequest(probe=probe, **fields))


async def found(world: World, probe: pb.Probe, **fields: Any) -> list[str]:
    """The subjects that a search finds for a probe with one face, best first, whatever their scores."""
    answer = await identify(world, probe, with_score=True, **fields)
    return [candidate.subject_id for candidate in answer.identifications[0].candidates]


async def emptied(server: PrivateServer) -> str:
    """Have a server forget what the test before left; its URL."""
    async with Redis.from_url(server.url) as client:
        await client.flushall()
    return server.url


async def refused(call: Any) -> StatusDetail:
    """What a call is refused with.

    Raises:
        AssertionError: it was not refused.
    """
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return detail_of(error)
    raise AssertionError(f"not refused: {answer!r}")
