"""From the backlog to the encoder and back: one stream per camera, opened again whenever it breaks.

A frame leaves the backlog only when the encoder has granted a credit for it and its camera's turn has come, so that
what is sent is always the newest. Frames under way when a stream breaks are counted as skipped; nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import grpc

from camera_ingest.accounting import FrameAccount
from camera_ingest.backlog import Backlog, SampledFrame
from camera_ingest.backoff import Backoff
from camera_ingest.books import Books, encode_options
from camera_ingest.camera import MAX_EXPIRES_AFTER_S, Camera
from camera_ingest.metrics import IngestMetrics
from camera_ingest.pictures import to_file
from camera_ingest.quarantine import Digest, Quarantine, digest_of
from camera_ingest.tracker import TrackerStep
from camera_ingest.turns import IN_TIME_SHARE, Turn, Turns
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks, first_end
from tessera.chassis.tracing import OFF, Span, Tracing
from tessera.client.stream_values import FrameAnswer, FrameOutcome, FrameToEncode
from tessera.client.streams import EncodeStream
from tessera.domain.errors import UnavailableError
from tessera.domain.reasons import Reason

log = get_logger()

_FAST_CREDITS = 4


@dataclass(frozen=True, slots=True)
class EncodingParts:
    """What the encode side of every camera shares."""

    channel: grpc.aio.Channel
    """To the encoder."""
    executor: Executor
    """Where JPEGs are made."""
    clock: Clock
    metrics: IngestMetrics
    quarantine: Quarantine
    """Pictures that crashed the encoder."""
    turns: Turns
    """Whose frame goes next."""
    tracing: Tracing = field(default_factory=Tracing)
    """Makes a span for each frame that is sent: the root of what comes of it."""
    answer_limit_s: float = 15.0
    """An encoder that leaves a frame unanswered for so long is taken for dead."""


@dataclass(slots=True, eq=False)
class _Sent:
    """A frame under way."""

    frame: SampledFrame
    taken_s: float
    """When it left the backlog; it may have waited there for long."""
    turn: Turn
    """Over with its answer."""
    picture: bytes = b""
    """As it was sent; empty before."""
    digest: Digest | None = None
    """Where it had to be looked up."""
    is_tried: bool = False
    """It is a suspect, and the only one that is with the encoder."""
    span: Span = OFF
    """From its leaving the backlog to what was made of its answer."""


class Encoding:
    """The encode side of one camera. Used from one event loop.

    Args:
        camera: whose frames.
        backlog: where they wait.
        account: where each gets its outcome.
        book: knows the tracklets that need no embedding, and takes the answers.
        on_answer: told of each answer with its frame and with what the book made of it, if anything.
        on_sent: told of each frame that goes to the encoder, as the file that it goes as.
        may_send: whether the camera is still ours to watch; asked at the last moment before a frame leaves.
        backoff: between two attempts to open the stream.
        parts: what every camera shares.
    """

    def __init__(
        self,
        *,
        camera: Camera,
        backlog: Backlog,
        account: FrameAccount,
        book: Books,
        on_answer: Callable[[FrameAnswer, SampledFrame, TrackerStep | None], None],
        on_sent: Callable[[SampledFrame, bytes], None],
        may_send: Callable[[], bool],
        backoff: Backoff,
        parts: EncodingParts,
    ) -> None:
        self._camera = camera
        self._backlog = backlog
        self._account = account
        self._book = book
        self._on_answer = on_answer
        self._on_sent = on_sent
        self._may_send = may_send
        self._backoff = backoff
        self._parts = parts
        self._under_way: dict[int, _Sent] = {}
        self._stream: EncodeStream | None = None
        self._draining = asyncio.Event()
        self._turning = asyncio.Event()  # nothing more is sent on the stream that is open
        self._waits_for_turn = False
        self._last_answered_id = 0
        self._last_sent_id = 0

    @property
    def under_way_count(self) -> int:
        """Frames that the encoder was sent and has not answered."""
        return len(self._under_way)

    def why_waiting(self) -> Reason:
        """Why a frame that is in the backlog now has not been sent yet."""
        if self._stream is None:
            return Reason.ENCODER_UNAVAILABLE
        return Reason.NEWER_FRAME if self._stream.has_credit and not self._waits_for_turn else Reason.NO_CREDIT

    def take_over(self, camera: Camera) -> None:
        """Go on with a camera that was changed; what the encoder was told at the opening is told on a new stream."""
        if camera.min_side_px != self._camera.min_side_px:
            self._turning.set()
        self._camera = camera

    def expire(self) -> None:
        """Give up the frame in the backlog when its time has run out."""
        frame = self._backlog.peek()
        if frame is not None and self._is_expired(frame):
            self._backlog.take()
            self._account.end(frame.frame_id, FrameOutcome.EXPIRED)

    async def run(self) -> None:
        """Serve streams until `drain` was called, or for ever."""
        while not self._draining.is_set():
            await first_end(self._backlog.wait(), self._draining.wait())
            if self._draining.is_set():
                return
            try:
                await self._serve_one_stream()
            except UnavailableError as error:
                self._parts.metrics.stream_breaks.labels("encoder").inc()
                log.warning("encode_stream.broken", camera=self._camera.camera_id, error=str(error))
            except Exception:  # the edge of a stream; frames under way are counted below
                self._parts.metrics.stream_breaks.labels("encoder").inc()
                log.exception("encode_stream.failed", camera=self._camera.camera_id)
            finally:
                self._stream = None
                self._lose_under_way()
            await first_end(asyncio.sleep(self._backoff.next_s()), self._draining.wait())

    def drain(self) -> None:
        """Send nothing more; `run` returns once the frames under way are answered, or the stream breaks."""
        self._draining.set()
        self._turning.set()

    async def _serve_one_stream(self) -> None:
        if not self._draining.is_set():
            self._turning.clear()
        options = encode_options(self._camera)
        # What is read as fast as it goes cannot be too old: the encoder is kept full instead of the answers fresh.
        wanted = _FAST_CREDITS if self._camera.stream.as_fast_as_possible else 0
        resumed = self._last_answered_id
        stream = EncodeStream(self._parts.channel, self._camera.camera_id, options, resumed, wanted_credits=wanted)
        async with stream:
            self._stream = stream
            log.info("encode_stream.opened", camera=self._camera.camera_id, model_id=stream.model_id)
            sender = asyncio.create_task(self._send_frames(stream))
            watch = asyncio.create_task(self._watch_for_silence())
            try:
                reader = asyncio.create_task(self._read_answers(stream))
                await first_end(reader, watch, self._first_failure(sender))
            finally:
                await end_tasks(sender, watch)

    async def _first_failure(self, sender: asyncio.Task[None]) -> None:
        await sender
        # All is sent and the stream half-closed: the reader says when it is over.
        await asyncio.Event().wait()

    async def _send_frames(self, stream: EncodeStream) -> None:
        while not self._turning.is_set():
            await first_end(self._backlog.wait(), self._turning.wait())
            if self._turning.is_set():
                break
            await first_end(stream.wait_for_credit(), self._turning.wait())
            turn = await self._turn()
            frame = None if self._turning.is_set() else self._next_frame()
            if frame is None:
                turn.leave()
                stream.return_credit()
                continue
            sent = self._under_way[frame.frame_id] = _Sent(frame, self._parts.clock.monotonic_s(), turn)
            await self._send(stream, sent)
        await stream.half_close()

    async def _turn(self) -> Turn:
        """The camera's turn; not given yet where nothing more is to be sent."""
        turn = self._parts.turns.ask()
        self._waits_for_turn = not turn.given.is_set()
        try:
            await first_end(turn.given.wait(), self._turning.wait())
        except BaseException:
            turn.leave()
            raise
        finally:
            self._waits_for_turn = False
        return turn

    def _next_frame(self) -> SampledFrame | None:
        frame = self._backlog.take()
        if frame is not None and self._is_too_late(frame):
            self._account.end(frame.frame_id, FrameOutcome.EXPIRED)
            return None
        return frame

    async def _send(self, stream: EncodeStream, sent: _Sent) -> None:
        frame, loop = sent.frame, asyncio.get_running_loop()
        sent.span = self._parts.tracing.frame("camera frame")
        picture = await loop.run_in_executor(self._parts.executor, to_file, frame.picture)
        if not await self._is_harmless(sent, picture):
            self._keep_back(stream, sent, Reason.QUARANTINED)
            return
        message = FrameToEncode(
            frame_id=frame.frame_id,
            picture=picture,
            capture_time=frame.capture_time,
            expires_after_s=self._expiry_s(frame),
            known_tracklets=self._book.known(frame.capture_time),
            dropped_since_last=frame.frame_id - self._last_sent_id - 1,
            traceparent=sent.span.traceparent() or "",
        )
        if not self._may_send():
            self._keep_back(stream, sent, Reason.LEASE_SUPERSEDED)
            return
        self._last_sent_id, sent.picture = frame.frame_id, picture
        await stream.send(message)
        self._on_sent(frame, picture)
        self._observe("sent", frame)

    async def _is_harmless(self, sent: _Sent, picture: bytes) -> bool:
        """False: it is held back. A suspect waits here until no other one is with the encoder."""
        quarantine = self._parts.quarantine
        if quarantine.is_empty:
            return True
        loop = asyncio.get_running_loop()
        sent.digest = await loop.run_in_executor(self._parts.executor, digest_of, picture)
        if quarantine.suspects(sent.digest):
            await quarantine.trying.acquire()
            sent.is_tried = True
        return not quarantine.holds(sent.digest)

    def _keep_back(self, stream: EncodeStream, sent: _Sent, reason: Reason) -> None:
        del self._under_way[sent.frame.frame_id]
        sent.turn.leave()
        sent.span.end()
        self._tried(sent)
        self._account.end(sent.frame.frame_id, FrameOutcome.SKIPPED, reason)
        stream.return_credit()

    def _tried(self, sent: _Sent) -> None:
        if sent.is_tried:
            sent.is_tried = False
            self._parts.quarantine.trying.release()

    async def _read_answers(self, stream: EncodeStream) -> None:
        async for answer in stream:
            sent = self._under_way.pop(answer.frame_id, None)
            if sent is None:
                continue
            self._backoff.reset()
            sent.turn.answered(self._took_s(answer, sent), IN_TIME_SHARE * self._camera.expires_after_s)
            if sent.digest is not None:
                self._parts.quarantine.cleared(sent.digest)
            self._tried(sent)
            self._last_answered_id = max(self._last_answered_id, answer.frame_id)
            self._account.end(answer.frame_id, answer.outcome, answer.reason)
            with sent.span:
                self._take(answer, sent.frame)

    def _take(self, answer: FrameAnswer, frame: SampledFrame) -> None:
        step: TrackerStep | None = None
        if answer.outcome is FrameOutcome.ENCODED:
            self._observe("answer", frame)
            step = self._book.take(answer)
        elif answer.outcome is FrameOutcome.FAILED:
            log.warning("frame.failed", camera=self._camera.camera_id, reason=answer.reason, detail=answer.detail[:200])
        self._on_answer(answer, frame, step)

    async def _watch_for_silence(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now_s, limit_s = self._parts.clock.monotonic_s(), self._parts.answer_limit_s
            if any(now_s - sent.taken_s > limit_s for sent in self._under_way.values()):
                raise UnavailableError("encoder", f"no answer to a frame for {limit_s:g} s")

    def _lose_under_way(self) -> None:
        reason = Reason.SHUTTING_DOWN if self._draining.is_set() else Reason.ENCODER_UNAVAILABLE
        if reason is Reason.ENCODER_UNAVAILABLE:
            # An encoder that ends in order has answered all that it had: this one did not.
            lost = (digest_of(sent.picture) for sent in self._under_way.values() if sent.picture)
            self._parts.quarantine.crashed(self._camera.camera_id, lost)
        for frame_id, sent in self._under_way.items():
            sent.turn.leave()
            sent.span.end()
            self._tried(sent)
            self._account.end(frame_id, FrameOutcome.SKIPPED, reason)
        self._under_way.clear()

    def _took_s(self, answer: FrameAnswer, sent: _Sent) -> float:
        """From the turn to the answer; infinite where the encoder had no time for the frame."""
        if answer.outcome in {FrameOutcome.EXPIRED, FrameOutcome.SKIPPED}:
            return math.inf
        return self._parts.clock.monotonic_s() - sent.taken_s

    def _is_too_late(self, frame: SampledFrame) -> bool:
        """Whether its answer would come too late, as long as answers take; half of its time is every frame's own."""
        expires_after_s = self._camera.expires_after_s
        left_s = expires_after_s - (self._parts.clock.monotonic_s() - frame.captured_s)
        return left_s < min(self._parts.turns.usual_s, expires_after_s / 2)

    def _is_expired(self, frame: SampledFrame) -> bool:
        return self._parts.clock.monotonic_s() - frame.captured_s > self._camera.expires_after_s

    def _expiry_s(self, frame: SampledFrame) -> float:
        """How old the encoder may let a frame become, counted as it counts: from its capture time, by the wall clock.

        What is left of its time was measured on the monotonic clock. A capture time that lies further back, as of a
        live playlist or after the wall clock has jumped, must not make the frame older than it is.
        """
        left_s = self._camera.expires_after_s - (self._parts.clock.monotonic_s() - frame.captured_s)
        told_age_s = (self._parts.clock.now() - frame.capture_time).total_seconds()
        return min(MAX_EXPIRES_AFTER_S, max(0.001, left_s) + max(0.0, told_age_s))

    def _observe(self, stage: str, frame: SampledFrame) -> None:
        self._parts.metrics.stage_s.labels(stage).observe(self._parts.clock.monotonic_s() - frame.captured_s)
