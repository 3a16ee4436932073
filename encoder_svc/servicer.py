"""`tessera.v1.EncoderService`: translates and delegates, nothing else."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc

from encoder_svc import wire
from encoder_svc.engine import Engine
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.streams import StreamLimitError, StreamRegister, StreamRules, StreamSession, StreamSilentError
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.status import StatusDetail, rich_status
from tessera.client.wire import seconds_to_wire
from tessera.domain.artifact import Manifest
from tessera.domain.errors import InvalidInputError
from tessera.v1 import encoder_pb2 as pb
from tessera.v1 import encoder_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class ServedEncoder:
    """What the servicer says of the encoder before it is loaded."""

    manifest: Manifest
    calibration_id: str
    """Empty: no calibration ships with it."""


class EncoderServicer(encoder_pb2_grpc.EncoderServiceServicer):
    """The encoder's methods.

    Args:
        engine: does the work.
        served: which encoder it is.
        rules: of streams.
        clock: for expiry.
        metrics: of streams.
    """

    def __init__(
        self, engine: Engine, served: ServedEncoder, rules: StreamRules, clock: Clock, metrics: EncoderMetrics
    ) -> None:
        self._engine = engine
        self._served = served
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._register = StreamRegister(rules.max_streams, metrics)

    async def Encode(self, request: pb.EncodeRequest, context: Context) -> pb.EncodeResponse:
        """One picture."""
        options = wire.options_from_wire(request.options, self._served.manifest)
        work_class = wire.work_class_from_wire(request.priority)
        remaining_s = context.time_remaining()
        expires_at_s = None if remaining_s is None else self._clock.monotonic_s() + remaining_s
        frame = await self._engine.encode(request.image.data, options, work_class, expires_at_s=expires_at_s)
        return wire.encode_response(frame, self._served.manifest.model_id)

    async def EncodeStream(
        self, request_iterator: AsyncIterator[pb.EncodeStreamRequest], context: Context
    ) -> AsyncIterator[pb.EncodeStreamResponse]:
        """The frames of one camera."""
        messages = aiter(request_iterator)
        try:
            first = await anext(messages, None)
            if first is None:
                raise InvalidInputError("message", "nothing", "open, as the first message of a stream")
            opened = wire.stream_open_from_wire(first)
            session = self._session(opened)
            with self._register:
                yield self._opened(opened)
                async with aclosing(session.run(wire.frames_from_wire(messages))) as events:
                    async for event in events:
                        yield wire.stream_event_to_wire(event)
        except StreamLimitError as error:
            detail = StatusDetail(grpc.StatusCode.RESOURCE_EXHAUSTED, "STREAM_LIMIT", str(error))
            await context.abort_with_status(rich_status(detail))
        except StreamSilentError as error:
            detail = StatusDetail(grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_SILENT", str(error))
            await context.abort_with_status(rich_status(detail))

    async def ListEncoders(self, request: pb.ListEncodersRequest, context: Context) -> pb.ListEncodersResponse:
        """The encoders and their state."""
        wanted = wire.wanted_modality(request)
        manifest = self._served.manifest
        shown = [wire.encoder_to_wire(manifest, self._engine, self._served.calibration_id)]
        return pb.ListEncodersResponse(encoders=shown if wanted in {None, manifest.modality} else [])

    def _session(self, opened: pb.StreamOpen) -> StreamSession:
        self._engine.require_ready()
        return StreamSession(
            self._engine,
            wire.options_from_wire(opened.options, self._served.manifest),
            rules=self._rules,
            resume_after_frame_id=opened.resume_after_frame_id,
            clock=self._clock,
            metrics=self._metrics,
        )

    def _opened(self, opened: pb.StreamOpen) -> pb.EncodeStreamResponse:
        stream_id = uuid.uuid4().hex[:12]
        get_logger().info("stream.opened", stream=stream_id, camera=opened.camera_id)
        return pb.EncodeStreamResponse(
            opened=pb.StreamOpened(
                stream_id=stream_id,
                model_id=self._served.manifest.model_id,
                credits=self._rules.credits,
                idle_limit=seconds_to_wire(self._rules.idle_s),
            )
        )
