"""A small encoder and a small gallery that speak real gRPC, and a condition that is waited for with a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc

from camera_ingest.__main__ import Ingest
from camera_ingest.metrics import IngestMetrics
from tessera.v1 import biometrics_pb2 as bio
from tessera.v1 import (
    encoder_pb2,
    encoder_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    gallery_pb2_grpc,
    matching_pb2,
)

MODEL = "test@1"


async def eventually(condition: Callable[[], bool], what: str, limit_s: float = 40.0) -> None:
    """Wait until `condition` holds; fails with `what` after the limit."""
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s, f"not within {limit_s} s: {what}"
        await asyncio.sleep(0.01)


class FakeEncoder(encoder_pb2_grpc.EncoderServiceServicer):
    """Sees one face in each frame, the same person at the same place, and keeps what it was sent."""

    def __init__(self) -> None:
        self.frames: list[encoder_pb2.Frame] = []
        self.opens: list[encoder_pb2.StreamOpen] = []
        self.credits = 1
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.faces = True
        self.bodies = False
        """Where persons are looked for: one, and the face is theirs."""

    async def EncodeStream(
        self, requests: AsyncIterator[encoder_pb2.EncodeStreamRequest], context: object
    ) -> AsyncIterator[encoder_pb2.EncodeStreamResponse]:
        async for request in requests:
            if request.HasField("open"):
                self.opens.append(request.open)
                opened = encoder_pb2.StreamOpened(stream_id="s", model_id=MODEL, credits=self.credits)
                yield encoder_pb2.EncodeStreamResponse(opened=opened)
                continue
            self.frames.append(request.frame)
            await self.may_answer.wait()
            yield encoder_pb2.EncodeStreamResponse(result=self._answer(request.frame))
            yield encoder_pb2.EncodeStreamResponse(credit=encoder_pb2.Credit(credits=1))

    def _answer(self, frame: encoder_pb2.Frame) -> encoder_pb2.FrameResult:
        result = encoder_pb2.FrameResult(frame_id=frame.frame_id, capture_time=frame.capture_time)
        if not frame.image.data.startswith(b"\xff\xd8"):
            result.failed.reason = bio.REASON_NOT_AN_IMAGE
            return result
        result.encoded.width_px, result.encoded.height_px = 64, 48
        wanted = self.opens[-1].options
        known = {tracklet.modality or wanted.modality for tracklet in frame.known_tracklets}
        if self.faces and wanted.modality != bio.MODALITY_PERSON:
            face = observation(embedded=bio.MODALITY_FACE not in known)
            if self.bodies and self.opens[-1].HasField("persons"):
                face.person = 0
            result.encoded.observations.append(face)
        if self.bodies:
            body = observation(embedded=bio.MODALITY_PERSON not in known)
            if wanted.modality == bio.MODALITY_PERSON:
                result.encoded.observations.append(body)
            elif self.opens[-1].HasField("persons"):
                result.encoded.persons.observations.append(body)
        return result


class FakeGallery(gallery_pb2_grpc.GalleryServiceServicer, events_pb2_grpc.EventServiceServicer):
    """Decides UNKNOWN for every tracklet, and keeps what it was told."""

    def __init__(self) -> None:
        self.updates: list[matching_pb2.TrackletUpdate] = []
        self.events: list[events_pb2.PublishCameraEventRequest] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.refused_publications = 0
        self.erased: set[str] = set()
        self.checked: list[str] = []

    async def MatchStream(
        self, requests: AsyncIterator[matching_pb2.MatchStreamRequest], context: object
    ) -> AsyncIterator[matching_pb2.MatchStreamResponse]:
        async for request in requests:
            if request.HasField("open"):
                yield matching_pb2.MatchStreamResponse(opened=matching_pb2.MatchStreamOpened(max_in_flight=2))
                continue
            update = request.update
            self.updates.append(update)
            await self.may_answer.wait()
            decision = bio.Decision(outcome=bio.OUTCOME_UNKNOWN, model_id=MODEL)
            yield matching_pb2.MatchStreamResponse(
                decision=matching_pb2.TrackletDecision(
                    tracklet_id=update.tracklet_id,
                    sequence=update.sequence,
                    revision=1,
                    decision=decision,
                    event_id=f"sighting-{update.tracklet_id}",
                )
            )

    async def PublishCameraEvent(
        self, request: events_pb2.PublishCameraEventRequest, context: grpc.aio.ServicerContext
    ) -> events_pb2.PublishCameraEventResponse:
        if self.refused_publications > 0:
            self.refused_publications -= 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "later")
        self.events.append(request)
        return events_pb2.PublishCameraEventResponse(cursor=str(len(self.events)))

    async def CheckSightings(
        self, request: events_pb2.CheckSightingsRequest, context: object
    ) -> events_pb2.CheckSightingsResponse:
        self.checked.extend(request.event_ids)
        return events_pb2.CheckSightingsResponse(gone_event_ids=self.erased.intersection(request.event_ids))

    def kinds(self) -> list[str]:
        """What happened to the cameras, in order."""
        names = [events_pb2.CameraEventKind.Name(event.event.kind) for event in self.events]
        return [name.removeprefix("CAMERA_EVENT_KIND_") for name in names]


def observation(*, embedded: bool) -> bio.Observation:
    """One good face."""
    quality = bio.Quality(sharpness=0.8, brightness=0.5, contrast=0.8, size=0.8, pose=0.9, overall=0.8)
    embedding = bio.Embedding(values=[1.0] + [0.0] * 31, model_id=MODEL) if embedded else None
    box = bio.Box(x_px=10, y_px=10, width_px=20, height_px=24)
    return bio.Observation(box=box, detection_probability=0.9, quality=quality, embedding=embedding)


class FakeServer:
    """Serves one fake on a port that it keeps, so that it can be killed and come back."""

    def __init__(self, encoder: FakeEncoder | None = None, gallery: FakeGallery | None = None) -> None:
        self._encoder = encoder
        self._gallery = gallery
        self._server: grpc.aio.Server | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        if self._encoder is not None:
            encoder_pb2_grpc.add_EncoderServiceServicer_to_server(self._encoder, server)
        if self._gallery is not None:
            gallery_pb2_grpc.add_GalleryServiceServicer_to_server(self._gallery, server)
            events_pb2_grpc.add_EventServiceServicer_to_server(self._gallery, server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        await server.start()
        self._server = server

    async def kill(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None


class Call:
    """What a servicer asks of a call: it comes from a user, and not from another worker."""

    def invocation_metadata(self) -> tuple[()]:
        return ()


@dataclass
class Rig:
    """A whole camera_ingest but for its own server."""

    ingest: Ingest
    metrics: IngestMetrics
    encoder: FakeEncoder
    gallery: FakeGallery
    encoder_server: FakeServer
    gallery_server: FakeServer

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def moment(offset_s: float = 0.0) -> datetime:
    """A moment of a fixed day."""
    return datetime.fromtimestamp(1_795_000_000 + offset_s, UTC)
