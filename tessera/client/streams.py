"""The two streams of a camera worker, for asyncio: frames to the encoder, tracklets to the gallery.

Each is opened by `async with`, written with `send`, read with `async for`. A stream that ends for any cause but our
own closing raises `UnavailableError`: coming back is the caller's business, since only the caller knows what of the
work under way is still worth anything. Nothing here retries, waits in line or drops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

import grpc

from tessera.chassis.status import detail_of
from tessera.client import stream_wire, wire
from tessera.client.stream_values import (
    EncodeOptions,
    FrameAnswer,
    FrameToEncode,
    TrackletDecision,
    TrackletRejected,
    TrackletUpdate,
)
from tessera.domain.errors import UnavailableError
from tessera.domain.ids import CameraId, ModelId
from tessera.v1 import encoder_pb2, encoder_pb2_grpc, gallery_pb2_grpc, matching_pb2

Request = TypeVar("Request")
Response = TypeVar("Response")

OPEN_LIMIT_S = 10.0
CLOSE_LIMIT_S = 2.0


class EncodeStream:
    """The frames of one camera, and the encoder's answers in the order sent.

    Args:
        channel: to the encoder.
        camera_id: whose frames.
        options: what to find in them.
        resume_after_frame_id: the last frame whose answer the caller has; 0 for a new camera.
        wanted_credits: frames that may be under way, of what cannot become too old; 0: the encoder's own number.
        open_limit_s: an encoder that does not answer the opening for so long is away.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        camera_id: CameraId,
        options: EncodeOptions | None = None,
        resume_after_frame_id: int = 0,
        *,
        wanted_credits: int = 0,
        open_limit_s: float = OPEN_LIMIT_S,
    ) -> None:
        self._stub = encoder_pb2_grpc.EncoderServiceStub(channel)
        self._open = stream_wire.stream_open_to_wire(
            camera_id, options or EncodeOptions(), resume_after_frame_id, wanted_credits
        )
        self._open_limit_s = open_limit_s
        self._credits = asyncio.Semaphore(0)
        self._call: _Call[encoder_pb2.EncodeStreamRequest, encoder_pb2.EncodeStreamResponse] | None = None
        self.stream_id = ""
        self.model_id = ModelId("")
        self.persons_model_id = ModelId("")
        self.idle_limit_s = 0.0

    @property
    def has_credit(self) -> bool:
        """Whether `wait_for_credit` would return at once."""
        return not self._credits.locked()

    async def __aenter__(self) -> Self:
        """Open the stream and take the first credits.

        Raises:
            UnavailableError: the encoder is away or refuses the stream.
        """
        call = _Call(self._stub.EncodeStream(), "encoder")
        opened = (await call.open(self._open, self._open_limit_s)).opened
        self.stream_id = opened.stream_id
        self.model_id = ModelId(opened.model_id)
        self.persons_model_id = ModelId(opened.persons_model_id)
        self.idle_limit_s = wire.seconds_from_wire(opened.idle_limit)
        self._grant(opened.credits)
        self._call = call
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the stream, orderly unless an error ended it."""
        if self._call is not None:
            await self._call.close(broken=error is not None)

    async def wait_for_credit(self) -> None:
        """Wait until one more frame may be sent, and take that credit."""
        await self._credits.acquire()

    def return_credit(self) -> None:
        """Give back a credit that was taken and not used."""
        self._credits.release()

    async def send(self, frame: FrameToEncode) -> None:
        """Send one frame; the caller took its credit with `wait_for_credit`.

        Raises:
            UnavailableError: the stream has ended.
        """
        await self._opened().send(stream_wire.frame_to_wire(frame))

    async def half_close(self) -> None:
        """Say that no frame will follow; the answers under way still come, and then the stream ends."""
        await self._opened().half_close()

    async def __aiter__(self) -> AsyncIterator[FrameAnswer]:
        """Yield answers as they come, until the stream ends after `half_close`.

        Raises:
            UnavailableError: the encoder ended the stream.
        """
        async for message in self._opened().read():
            match message.WhichOneof("message"):
                case "credit":
                    self._grant(message.credit.credits)
                case "result":
                    yield stream_wire.answer_from_wire(message.result)
                case _:
                    continue

    def _grant(self, credits: int) -> None:  # noqa: A002 - the contract's word
        for _ in range(credits):
            self._credits.release()

    def _opened(self) -> _Call[encoder_pb2.EncodeStreamRequest, encoder_pb2.EncodeStreamResponse]:
        if self._call is None:
            raise UnavailableError("encoder", "the stream is not open")
        return self._call


class MatchStream:
    """Tracklets of one worker, and the gallery's decisions on them.

    Args:
        channel: to the gallery.
        worker_id: named in the gallery's logs.
        open_limit_s: a gallery that does not answer the opening for so long is away.
    """

    def __init__(self, channel: grpc.aio.Channel, worker_id: str, open_limit_s: float = OPEN_LIMIT_S) -> None:
        self._stub = gallery_pb2_grpc.GalleryServiceStub(channel)
        self._open = stream_wire.match_open_to_wire(worker_id)
        self._open_limit_s = open_limit_s
        self._call: _Call[matching_pb2.MatchStreamRequest, matching_pb2.MatchStreamResponse] | None = None
        self.max_in_flight = 1

    async def __aenter__(self) -> Self:
        """Open the stream.

        Raises:
            UnavailableError: the gallery is away or refuses the stream.
        """
        call = _Call(self._stub.MatchStream(), "gallery")
        opened = (await call.open(self._open, self._open_limit_s)).opened
        self.max_in_flight = max(1, opened.max_in_flight)
        self._call = call
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the stream, orderly unless an error ended it."""
        if self._call is not None:
            await self._call.close(broken=error is not None)

    async def send(self, update: TrackletUpdate) -> None:
        """Send one update; the caller keeps to `max_in_flight`.

        Raises:
            UnavailableError: the stream has ended.
        """
        await self._opened().send(stream_wire.update_to_wire(update))

    async def half_close(self) -> None:
        """Say that no update will follow; the decisions under way still come, and then the stream ends."""
        await self._opened().half_close()

    async def __aiter__(self) -> AsyncIterator[TrackletDecision | TrackletRejected]:
        """Yield decisions as they come, until the stream ends after `half_close`.

        Raises:
            UnavailableError: the gallery ended the stream.
        """
        async for message in self._opened().read():
            answer = stream_wire.match_answer_from_wire(message)
            if answer is not None:
                yield answer

    def _opened(self) -> _Call[matching_pb2.MatchStreamRequest, matching_pb2.MatchStreamResponse]:
        if self._call is None:
            raise UnavailableError("gallery", "the stream is not open")
        return self._call


class _Call(Generic[Request, Response]):
    """One bidirectional call whose every failure is an `UnavailableError` with the peer's own words."""

    def __init__(self, call: grpc.aio.StreamStreamCall[Request, Response], service: str) -> None:
        self._call = call
        self._service = service
        self._half_closed = False

    async def open(self, message: Request, limit_s: float) -> Response:
        try:
            async with asyncio.timeout(limit_s):
                await self.send(message)
                response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise self._told(error) from None
        except TimeoutError:
            self._call.cancel()
            raise UnavailableError(self._service, f"no answer to the opening within {limit_s:g} s") from None
        except asyncio.CancelledError:
            self._call.cancel()
            raise
        if response is grpc.aio.EOF:
            raise UnavailableError(self._service, "it ended the stream at once")
        return cast("Response", response)

    async def send(self, message: Request) -> None:
        try:
            await self._call.write(message)
        except grpc.aio.AioRpcError as error:
            raise self._told(error) from None
        except asyncio.InvalidStateError:
            raise UnavailableError(self._service, "the stream has ended") from None

    async def half_close(self) -> None:
        self._half_closed = True
        try:
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise UnavailableError(self._service, "the stream has ended") from error

    async def read(self) -> AsyncIterator[Response]:
        while True:
            try:
                message = await self._call.read()
            except grpc.aio.AioRpcError as error:
                raise self._told(error) from None
            if message is grpc.aio.EOF:
                if self._half_closed:
                    return
                raise UnavailableError(self._service, "it ended the stream")
            yield cast("Response", message)

    async def close(self, *, broken: bool) -> None:
        # A cancelled stream leaks in grpc.aio; one that was closed by both ends does not.
        if not broken and not self._call.done():
            try:
                async with asyncio.timeout(CLOSE_LIMIT_S):
                    await self.half_close()
                    async for _ in self.read():
                        pass
            except (TimeoutError, UnavailableError):
                self._call.cancel()
                return
        self._call.cancel()

    def _told(self, error: grpc.aio.AioRpcError) -> UnavailableError:
        detail = detail_of(error)
        return UnavailableError(self._service, f"{detail.reason}: {detail.message}")
