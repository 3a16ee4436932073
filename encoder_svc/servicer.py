"""`tessera.v1.EncoderService`: translates and delegates, nothing else."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from encoder_svc import wire
from encoder_svc.encoders import Encoders
from encoder_svc.explaining import Explainer
from encoder_svc.frames import EncodeOptions, Picture
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.streams import StreamRegister, StreamRules, StreamSession
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tracing import Tracing
from tessera.client.wire import seconds_to_wire
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError, StreamSilentError
from tessera.v1 import encoder_pb2 as pb
from tessera.v1 import encoder_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class EncoderServicer(encoder_pb2_grpc.EncoderServiceServicer):
    """The encoder's methods.

    Args:
        encoders: do the work.
        explainer: has them explain a score.
        rules: of streams.
        clock: for expiry.
        metrics: of streams.
        tracing: makes a span for each frame of a stream; none by default.
    """

    def __init__(
        self,
        encoders: Encoders,
        explainer: Explainer,
        rules: StreamRules,
        *,
        clock: Clock,
        metrics: EncoderMetrics,
        tracing: Tracing | None = None,
    ) -> None:
        self._encoders = encoders
        self._explainer = explainer
        self._rules = rules
        self._clock = clock
        self._metrics = metrics
        self._tracing = tracing or Tracing()
        self._register = StreamRegister(rules.max_streams, metrics)

    async def Encode(self, request: pb.EncodeRequest, context: Context) -> pb.EncodeResponse:
        """One picture."""
        options = wire.options_from_wire(request.options)
        modality = wire.modality_wanted(request.options)
        work_class = wire.work_class_from_wire(request.priority)
        serving = self._encoders.serving(request.options.model_id, modality).facts.manifest
        persons = wire.persons_from_wire(request)
        picture = Picture(
            request.image.data,
            options,
            work_class,
            expires_at_s=self._expires_at_s(context),
            persons=persons.options if persons else None,
        )
        wanted_persons = persons.wanted if persons else ""
        frame = await self._encoders.encode(picture, serving.model_id, modality, wanted_persons)
        return wire.encode_response(frame, serving.model_id)

    async def EncodeStream(
        self, request_iterator: AsyncIterator[pb.EncodeStreamRequest], context: Context
    ) -> AsyncIterator[pb.EncodeStreamResponse]:
        """The frames of one camera."""
        messages = aiter(request_iterator)
        opened = wire.stream_open_from_wire(await self._first(messages))
        options = wire.options_from_wire(opened.options)
        modality = wire.modality_wanted(opened.options)
        model_id = self._encoders.serving(opened.options.model_id, modality).facts.manifest.model_id
        persons = wire.persons_from_wire(opened)
        persons_id = self._encoders.serving(persons.wanted, Modality.PERSON).facts.manifest.model_id if persons else ""
        with self._register:
            told = self._opened(opened, model_id, persons_id)
            yield told
            session = self._session(opened, options, told.opened, persons)
            async with aclosing(session.run(wire.frames_from_wire(messages))) as events:
                async for event in events:
                    yield wire.stream_event_to_wire(event)

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        """What in a picture drives its score with a reference."""
        question = wire.explain_question(request, self._expires_at_s(context))
        return wire.explain_response(await self._explainer.explain(question))

    async def ListEncoders(self, request: pb.ListEncodersRequest, context: Context) -> pb.ListEncodersResponse:
        """The encoders and their state."""
        wanted = wire.wanted_modality(request)
        shown = [s for s in self._encoders.statuses() if wanted in {None, s.facts.manifest.modality}]
        return pb.ListEncodersResponse(encoders=[wire.encoder_to_wire(status) for status in shown])

    async def LoadEncoder(self, request: pb.LoadEncoderRequest, context: Context) -> pb.LoadEncoderResponse:
        """Begin to load an encoder."""
        priority = request.priority if request.HasField("priority") else None
        status = self._encoders.load(request.name, priority, make_default=request.make_default)
        return pb.LoadEncoderResponse(encoder=wire.encoder_to_wire(status))

    async def UnloadEncoder(self, request: pb.UnloadEncoderRequest, context: Context) -> pb.UnloadEncoderResponse:
        """Take an encoder out of service."""
        return pb.UnloadEncoderResponse(unloaded=await self._encoders.unload(request.model_id))

    def _expires_at_s(self, context: Context) -> float | None:
        remaining_s = context.time_remaining()
        return None if remaining_s is None else self._clock.monotonic_s() + remaining_s

    async def _first(self, messages: AsyncIterator[pb.EncodeStreamRequest]) -> pb.EncodeStreamRequest:
        try:
            async with asyncio.timeout(self._rules.idle_s):
                first = await anext(messages, None)
        except TimeoutError:
            self._metrics.streams_ended.labels("silent").inc()
            raise StreamSilentError(self._rules.idle_s) from None
        if first is None:
            raise InvalidInputError("message", "nothing", "open, as the first message of a stream")
        return first

    def _session(
        self, opened: pb.StreamOpen, options: EncodeOptions, told: pb.StreamOpened, persons: wire.PersonsWanted | None
    ) -> StreamSession:
        return StreamSession(
            self._encoders,
            options,
            model_id=told.model_id,
            modality=wire.modality_wanted(opened.options),
            persons=(persons.options, told.persons_model_id) if persons else None,
            stream_id=told.stream_id,
            rules=self._rules,
            credits=told.credits,
            resume_after_frame_id=opened.resume_after_frame_id,
            clock=self._clock,
            metrics=self._metrics,
            tracing=self._tracing,
        )

    def _opened(self, opened: pb.StreamOpen, model_id: str, persons_id: str) -> pb.EncodeStreamResponse:
        stream_id = uuid.uuid4().hex[:12]
        get_logger().info("stream.opened", stream=stream_id, camera=opened.camera_id)
        return pb.EncodeStreamResponse(
            opened=pb.StreamOpened(
                stream_id=stream_id,
                model_id=model_id,
                credits=self._rules.granted(opened.wanted_credits),
                idle_limit=seconds_to_wire(self._rules.idle_s),
                persons_model_id=persons_id,
            )
        )
