"""One camera's stream: credits bound what is under way, and every frame is answered exactly once, in the order sent.

A frame is encoded, skipped, expired or failed. What goes wrong with one frame stays in its answer; only a breach of
the contract, silence or a draining server ends the stream. Nothing here knows of messages or transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from encoder_svc.encoders import Encoders
from encoder_svc.frames import EncodedFrame, EncodeOptions, Picture
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.scheduling.work import WorkClass
from tessera.chassis.clock import Clock
from tessera.chassis.status import status_of
from tessera.chassis.tracing import Tracing
from tessera.client.stream_values import KnownTracklet
from tessera.domain.embedding import Modality
from tessera.domain.errors import (
    ExpiredError,
    ImageRejectedError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    StreamLimitError,
    StreamSilentError,
    UnavailableError,
)
from tessera.domain.reasons import Reason


@dataclass(frozen=True, slots=True, eq=False)
class StreamFrame:
    """One frame as a client sent it."""

    frame_id: int
    data: bytes
    capture_time: datetime | None
    """UTC; None: when it arrived."""
    expires_after_s: float
    known: tuple[KnownTracklet, ...] = ()
    dropped_since_last: int = 0
    """Frames that the client sampled and did not send since the last one."""
    traceparent: str = ""
    """Of the client's span of this frame; empty: it has none."""


@dataclass(frozen=True, slots=True)
class SkippedFrame:
    """The frame was fine and was not encoded."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class ExpiredFrame:
    """The frame's time had run out."""

    age_s: float


@dataclass(frozen=True, slots=True)
class FailedFrame:
    """The frame could not be encoded."""

    reason: Reason
    detail: str


FrameOutcome = EncodedFrame | SkippedFrame | ExpiredFrame | FailedFrame


@dataclass(frozen=True, slots=True, eq=False)
class FrameAnswer:
    """What became of one frame."""

    frame_id: int
    capture_time: datetime | None
    outcome: FrameOutcome


@dataclass(frozen=True, slots=True)
class CreditGrant:
    """So many more frames may be sent."""

    credits: int


@dataclass(frozen=True, slots=True)
class StreamRules:
    """What all streams of a server keep to."""

    credits: int
    """Frames of one stream under way."""
    most_credits: int
    """The same of a stream that asks for more."""
    idle_s: float
    """Silence that ends a stream."""
    max_streams: int
    """Streams at a time."""

    def granted(self, wanted: int) -> int:
        """Credits of a stream that asks for so many; 0: it asks for none in particular."""
        return min(wanted, self.most_credits) if wanted else self.credits


class StreamRegister:
    """How many streams are open, and whether one more may be.

    Args:
        limit: streams at a time.
        metrics: shows how many are open.
    """

    def __init__(self, limit: int, metrics: EncoderMetrics) -> None:
        self._limit = limit
        self._metrics = metrics
        self._open = 0

    def __enter__(self) -> None:
        """Count one stream in.

        Raises:
            StreamLimitError: as many as are allowed are open.
        """
        if self._open >= self._limit:
            self._metrics.streams_ended.labels("limit").inc()
            raise StreamLimitError(self._limit)
        self._open += 1
        self._metrics.streams.set(self._open)

    def __exit__(self, *error: object) -> None:
        """Count it out."""
        self._open -= 1
        self._metrics.streams.set(self._open)


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    frame: StreamFrame
    outcome: asyncio.Future[FrameOutcome]
    took_credit: bool


class StreamSession:
    """The frames of one open stream.

    Args:
        encoders: encode them.
        model_id: the encoder that the stream was opened on.
        modality: what it encodes.
        stream_id: names the stream; a batch takes only so many frames of one.
        options: what to find in them.
        rules: limits.
        credits: frames that may be under way.
        resume_after_frame_id: frames up to it were answered on an earlier stream.
        clock: for their expiry.
        metrics: frames without credit, credits in use.
        tracing: makes a span for each frame; none by default.
        persons: what to find of persons beside faces, and the encoder that the stream was opened on for that.
    """

    def __init__(
        self,
        encoders: Encoders,
        options: EncodeOptions,
        *,
        model_id: str,
        modality: Modality = Modality.FACE,
        persons: tuple[EncodeOptions, str] | None = None,
        stream_id: str,
        rules: StreamRules,
        credits: int,  # noqa: A002 - the contract's word
        resume_after_frame_id: int,
        clock: Clock,
        metrics: EncoderMetrics,
        tracing: Tracing | None = None,
    ) -> None:
        self._encoders = encoders
        self._options = options
        self._model_id = model_id
        self._modality = modality
        self._persons = persons[0] if persons else None
        self._persons_model_id = persons[1] if persons else ""
        self._stream_id = stream_id
        self._rules = rules
        self._last_frame_id = resume_after_frame_id
        self._clock = clock
        self._metrics = metrics
        self._tracing = tracing or Tracing()
        self._granted = self._credits = credits
        self._retired: tuple[asyncio.Event, ...] = ()
        self._under_way: set[asyncio.Task[FrameOutcome]] = set()

    async def run(self, frames: AsyncIterator[StreamFrame]) -> AsyncGenerator[FrameAnswer | CreditGrant, None]:
        """Answer frames until the client ends the stream.

        Args:
            frames: as they arrive.

        Yields:
            One answer a frame, in the order sent, and after it the credit that the frame had cost.

        Raises:
            InvalidInputError: a frame_id did not grow.
            StreamSilentError: nothing came for too long.
            UnavailableError: the server drains, or the encoder was replaced; everything under way was answered first.
        """
        self._retired = self._retiring()
        # Bounded: a client that floods without credit is slowed by the transport and not stored here.
        pending: asyncio.Queue[_Pending | None] = asyncio.Queue(self._granted + 1)
        reader = asyncio.create_task(self._read(frames, pending))
        try:
            while (next_up := await pending.get()) is not None:
                outcome = await next_up.outcome
                yield FrameAnswer(next_up.frame.frame_id, next_up.frame.capture_time, outcome)
                if next_up.took_credit:
                    self._give_credit_back()
                    yield CreditGrant(1)
            await reader
        finally:
            await self._abandon(reader, pending)

    async def _read(self, frames: AsyncIterator[StreamFrame], pending: asyncio.Queue[_Pending | None]) -> None:
        try:
            while (frame := await self._receive(frames)) is not None:
                self._check_sequence(frame)
                await pending.put(self._accept(frame))
        finally:
            await pending.put(None)

    async def _receive(self, frames: AsyncIterator[StreamFrame]) -> StreamFrame | None:
        """The next frame; None at the orderly end."""
        receiving = asyncio.ensure_future(anext(frames, None))
        draining = asyncio.create_task(self._encoders.draining.wait())
        replaced = {asyncio.create_task(retired.wait()) for retired in self._retired}
        try:
            while True:
                done, _ = await asyncio.wait(
                    {receiving, draining, *replaced}, timeout=self._rules.idle_s, return_when=asyncio.FIRST_COMPLETED
                )
                if receiving in done:
                    return receiving.result()
                if draining in done:
                    raise self._ended("draining", UnavailableError("encoder", "draining"))
                if done & replaced:
                    raise self._ended("replaced", UnavailableError("encoder", "replaced; open a new stream"))
                if not self._under_way:
                    raise self._ended("silent", StreamSilentError(self._rules.idle_s))
        finally:
            for waiting in (draining, *replaced, receiving):
                waiting.cancel()

    def _retiring(self) -> tuple[asyncio.Event, ...]:
        """What tells of the encoders' ends: taken once, since nobody can ask for it once an encoder has gone."""
        try:
            return tuple(self._encoders.retired(one) for one in (self._model_id, self._persons_model_id) if one)
        except NotFoundError:
            raise self._ended("replaced", UnavailableError("encoder", "replaced; open a new stream")) from None

    def _ended(self, cause: str, error: Exception) -> Exception:
        self._metrics.streams_ended.labels(cause).inc()
        return error

    def _check_sequence(self, frame: StreamFrame) -> None:
        if frame.frame_id <= self._last_frame_id:
            raise InvalidInputError("frame.frame_id", frame.frame_id, f"more than {self._last_frame_id}")
        self._last_frame_id = frame.frame_id
        self._metrics.client_drops.inc(frame.dropped_since_last)

    def _accept(self, frame: StreamFrame) -> _Pending:
        if self._credits == 0:
            self._metrics.frames.labels(WorkClass.STREAM.value, "skipped", Reason.NO_CREDIT.value).inc()
            skipped: asyncio.Future[FrameOutcome] = asyncio.get_running_loop().create_future()
            skipped.set_result(SkippedFrame(Reason.NO_CREDIT))
            return _Pending(frame, skipped, took_credit=False)
        self._credits -= 1
        self._metrics.credits_in_use.inc()
        task = asyncio.create_task(self._encode(frame))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return _Pending(frame, task, took_credit=True)

    def _give_credit_back(self) -> None:
        self._credits += 1
        self._metrics.credits_in_use.dec()

    async def _encode(self, frame: StreamFrame) -> FrameOutcome:
        age_s = self._age_s(frame)
        if age_s >= frame.expires_after_s:
            self._metrics.frames.labels(WorkClass.STREAM.value, "expired", Reason.EXPIRED.value).inc()
            return ExpiredFrame(age_s)
        expires_at_s = self._clock.monotonic_s() + frame.expires_after_s - age_s
        try:
            known = [one for one in frame.known if self._persons or one.modality in {None, self._modality}]
            picture = Picture(
                frame.data, self._options, WorkClass.STREAM, known, expires_at_s, self._stream_id, self._persons
            )
            with self._tracing.frame("frame", frame.traceparent or None):
                return await self._encoders.encode(picture, self._model_id, self._modality, self._persons_model_id)
        except ExpiredError:
            return ExpiredFrame(self._age_s(frame))
        except Exception as error:  # noqa: BLE001 - the edge of a frame; the encoders have counted it
            return _unencoded(error)

    def _age_s(self, frame: StreamFrame) -> float:
        """Seconds since capture. A camera whose clock runs ahead is taken at its arrival."""
        if frame.capture_time is None:
            return 0.0
        return max(0.0, (self._clock.now() - frame.capture_time).total_seconds())

    async def _abandon(self, reader: asyncio.Task[None], pending: asyncio.Queue[_Pending | None]) -> None:
        """End what is left when a client went away."""
        # A reader that waits for room must find some, or it never ends.
        while not pending.empty():
            pending.get_nowait()
        left = [reader, *self._under_way]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        while self._credits < self._granted:
            self._give_credit_back()


def _unencoded(error: Exception) -> FrameOutcome:
    match error:
        case OverloadedError():
            return SkippedFrame(Reason.NEWER_FRAME)
        case UnavailableError() | NotFoundError():
            return SkippedFrame(Reason.SHUTTING_DOWN)
        case ImageRejectedError():
            return FailedFrame(error.reason, error.detail)
        case _:
            return FailedFrame(Reason.INTERNAL, status_of(error).message)
