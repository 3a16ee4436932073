"""`inference.GRPCInferenceService`, the Open Inference Protocol: translates and delegates, nothing else.

A model is an encoder, by its name or its whole model id; its version is the digest in the model id.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from encoder_svc import oip_wire as wire
from encoder_svc.encoders import Encoders, EncoderState, EncoderStatus
from encoder_svc.frames import EncodedFrame, Picture
from tessera.chassis.clock import Clock
from tessera.chassis.tasks import end_tasks
from tessera.domain.artifact import Manifest
from tessera.domain.errors import ImageRejectedError, NotFoundError
from tessera.oip import open_inference_pb2 as pb
from tessera.oip import open_inference_pb2_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]

Context = grpc.aio.ServicerContext[Any, Any]

_PICTURES_AT_A_TIME = 8
"""Of one call: however many it brings, it neither fills the queue of its class nor keeps everybody else out of it."""


class OpenInferenceServicer(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """The protocol's methods.

    Args:
        encoders: do the work.
        clock: for expiry.
    """

    def __init__(self, encoders: Encoders, clock: Clock) -> None:
        self._encoders = encoders
        self._clock = clock

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve these methods on `server`."""
        open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, server)

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """It answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Whether every default encoder takes work."""
        defaults = {status.facts.manifest.modality for status in self._encoders.statuses() if status.default}
        ready = {
            status.facts.manifest.modality for status in self._encoders.statuses() if status.default and _ready(status)
        }
        return pb.ServerReadyResponse(ready=bool(defaults) and ready == defaults)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """Whether one encoder takes work."""
        return pb.ModelReadyResponse(ready=_ready(self._find(request.name, request.version)[0]))

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        """Who answers."""
        return wire.server_metadata()

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        """The tensors of one encoder."""
        found = self._find(request.name, request.version)
        versions = dict.fromkeys(wire.version_of(status.facts.manifest) for status in found)
        return wire.model_metadata(found[0].facts.manifest, versions)

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        """Every encoder and its state."""
        shown = [status for status in self._encoders.statuses() if _ready(status) or not request.ready]
        return pb.RepositoryIndexResponse(models=[wire.model_index(status) for status in shown])

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """The pictures of one call, all or none."""
        manifest = self._find(request.model_name, request.model_version)[0].facts.manifest
        call = wire.infer_call_from_wire(request)
        limits_s = [limit_s for limit_s in (context.time_remaining(), call.timeout_s) if limit_s is not None]
        expires_at_s = self._clock.monotonic_s() + min(limits_s) if limits_s else None
        pictures = [Picture(data, call.options, call.work_class, expires_at_s=expires_at_s) for data in call.pictures]
        return wire.infer_response(request, call, await self._encode(pictures, manifest), manifest)

    def _find(self, name: str, version: str) -> list[EncoderStatus]:
        """What answers to a name, and a version if one is given: what takes work first; never empty."""
        statuses = self._encoders.statuses()
        found = [status for status in statuses if _answers_to(status.facts.manifest, name, version)]
        if not found:
            known = ", ".join(status.facts.manifest.model_id for status in statuses)
            raise NotFoundError("encoder", f"{name}@{version}" if version else name, f"this service has {known}")
        return sorted(found, key=lambda status: not _ready(status))

    async def _encode(self, pictures: list[Picture], manifest: Manifest) -> list[EncodedFrame]:
        places = asyncio.Semaphore(_PICTURES_AT_A_TIME)
        tasks = [
            asyncio.create_task(self._encode_one(at, picture, manifest, places)) for at, picture in enumerate(pictures)
        ]
        try:
            return await asyncio.gather(*tasks)
        finally:
            await end_tasks(*tasks)
            # A task holds its error, and the error this frame: the three would keep the pictures of a refused call
            # until the garbage collector runs.
            del tasks

    async def _encode_one(
        self, at: int, picture: Picture, manifest: Manifest, places: asyncio.Semaphore
    ) -> EncodedFrame:
        async with places:
            try:
                return await self._encoders.encode(picture, manifest.model_id, manifest.modality)
            except ImageRejectedError as error:
                raise error.in_field(f"{wire.INPUT}[{at}]") from None


def _ready(status: EncoderStatus) -> bool:
    return status.state is EncoderState.READY


def _answers_to(manifest: Manifest, name: str, version: str) -> bool:
    return name in {manifest.name, manifest.model_id} and version in {"", wire.version_of(manifest)}
