"""From tracklets to decisions: one match stream for all cameras of this process, opened again whenever it breaks.

At most one update of a tracklet is under way at a time. While it waits, newer updates of the same tracklet are folded
into one: the newest state, and the best of the samples. So what waits is bounded by the tracklets that are there, and
a gallery that was away for a while learns how things stand, not how they came to be. What was under way when the
stream broke is sent again with the same sequence, which changes nothing where it had arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import grpc

from camera_ingest.backoff import Backoff
from camera_ingest.metrics import IngestMetrics
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks, first_end
from tessera.client.stream_values import TrackletDecision, TrackletRejected, TrackletUpdate
from tessera.client.streams import MatchStream
from tessera.domain.errors import UnavailableError
from tessera.domain.ids import CameraId, TrackletId
from tessera.domain.reasons import Reason

log = get_logger()

MAX_WAITING = 256
MAX_SAMPLES = 8
MAX_ATTEMPTS = 3

OnDecision = Callable[[TrackletUpdate, TrackletDecision], None]
OnSuperseded = Callable[[CameraId, int], None]
"""Told of a camera whose token is older than one that the gallery has seen, and of that one."""


@dataclass(slots=True)
class _Sent:
    """An update under way."""

    update: TrackletUpdate
    sent_s: float
    attempts: int


class Matcher:
    """The match side of this process. Used from one event loop.

    Args:
        channel: to the gallery.
        worker_id: names this process to the gallery.
        clock: for latencies and limits.
        metrics: where it counts.
        on_decision: told of each decision with the update that it answers.
        on_superseded: told when the gallery knows a newer lease of a camera.
        backoff: between two attempts to open the stream.
        answer_limit_s: a gallery that leaves an update unanswered for so long is taken for dead.
    """

    def __init__(
        self,
        *,
        channel: grpc.aio.Channel,
        worker_id: str,
        clock: Clock,
        metrics: IngestMetrics,
        on_decision: OnDecision,
        on_superseded: OnSuperseded,
        backoff: Backoff,
        answer_limit_s: float = 15.0,
    ) -> None:
        self._channel = channel
        self._worker_id = worker_id
        self._clock = clock
        self._metrics = metrics
        self._on_decision = on_decision
        self._on_superseded = on_superseded
        self._backoff = backoff
        self._answer_limit_s = answer_limit_s
        self._waiting: dict[TrackletId, TrackletUpdate] = {}
        self._under_way: dict[TrackletId, _Sent] = {}
        self._sequences: dict[TrackletId, int] = {}
        self._changed = asyncio.Event()
        self._draining = False

    @property
    def open_count(self) -> int:
        """Updates that wait or are under way."""
        return len(self._waiting) + len(self._under_way)

    def submit(self, update: TrackletUpdate) -> None:
        """Take an update; its `sequence` is set when it is sent. Past 256 waiting tracklets the oldest is dropped."""
        waiting = self._waiting.get(update.tracklet_id)
        self._waiting[update.tracklet_id] = update if waiting is None else folded(waiting, update)
        while len(self._waiting) > MAX_WAITING:
            oldest = next(iter(self._waiting))
            if self._waiting.pop(oldest).ended:
                self._sequences.pop(oldest, None)
            self._metrics.updates_dropped.labels("OVERFLOW").inc()
        self._changed.set()

    async def run(self) -> None:
        """Serve streams until `drain` was called and nothing is left, or for ever."""
        while not (self._draining and self.open_count == 0):
            if self.open_count == 0:
                await self._wait_for_change()
                continue
            try:
                await self._serve_one_stream()
            except UnavailableError as error:
                self._metrics.stream_breaks.labels("gallery").inc()
                log.warning("match_stream.broken", error=str(error))
            except Exception:  # the edge of a stream; what was under way is sent again
                self._metrics.stream_breaks.labels("gallery").inc()
                log.exception("match_stream.failed")
            self._give_up_repeated()
            await asyncio.sleep(self._backoff.next_s())

    def drain(self) -> None:
        """Let `run` return once everything that was submitted is answered."""
        self._draining = True
        self._changed.set()

    async def _serve_one_stream(self) -> None:
        async with MatchStream(self._channel, self._worker_id) as stream:
            log.info("match_stream.opened", max_in_flight=stream.max_in_flight)
            sender = asyncio.create_task(self._send_updates(stream))
            watch = asyncio.create_task(self._watch_for_silence())
            try:
                reader = asyncio.create_task(self._read_decisions(stream))
                await first_end(reader, watch, _forever_unless_failed(sender))
            finally:
                await end_tasks(sender, watch)

    async def _send_updates(self, stream: MatchStream) -> None:
        for sent in list(self._under_way.values()):
            sent.sent_s, sent.attempts = self._clock.monotonic_s(), sent.attempts + 1
            await stream.send(sent.update)
        while True:
            update = self._next_update(stream.max_in_flight)
            if update is not None:
                await stream.send(update)
            elif self._draining and self.open_count == 0:
                await stream.half_close()
                return
            else:
                await self._wait_for_change()

    def _next_update(self, max_in_flight: int) -> TrackletUpdate | None:
        if len(self._under_way) >= max_in_flight:
            return None
        tracklet_id = next((key for key in self._waiting if key not in self._under_way), None)
        if tracklet_id is None:
            return None
        self._sequences[tracklet_id] = self._sequences.get(tracklet_id, 0) + 1
        update = replace(self._waiting.pop(tracklet_id), sequence=self._sequences[tracklet_id])
        self._under_way[tracklet_id] = _Sent(update, self._clock.monotonic_s(), 1)
        return update

    async def _read_decisions(self, stream: MatchStream) -> None:
        async for answer in stream:
            self._backoff.reset()
            sent = self._under_way.get(answer.tracklet_id)
            if sent is None or sent.update.sequence != answer.sequence:
                continue
            self._finish(sent.update)
            if isinstance(answer, TrackletRejected):
                is_old = answer.reason is Reason.LEASE_SUPERSEDED
                self._metrics.updates_dropped.labels("SUPERSEDED" if is_old else "REJECTED").inc()
                if is_old:
                    self._on_superseded(sent.update.camera_id, answer.newest_lease_token)
                log.warning("tracklet.rejected", camera=sent.update.camera_id, reason=answer.reason)
            else:
                self._take_decision(sent.update, answer)

    def _take_decision(self, update: TrackletUpdate, decision: TrackletDecision) -> None:
        if update.samples and not update.ended:  # an end is only told after its silence
            newest = max(sample.capture_time for sample in update.samples)
            self._metrics.stage_s.labels("decision").observe((self._clock.now() - newest).total_seconds())
        self._on_decision(update, decision)

    def _finish(self, update: TrackletUpdate) -> None:
        del self._under_way[update.tracklet_id]
        if update.ended:
            self._sequences.pop(update.tracklet_id, None)
        self._changed.set()

    def _give_up_repeated(self) -> None:
        for sent in list(self._under_way.values()):
            if sent.attempts >= MAX_ATTEMPTS:
                self._finish(sent.update)
                self._metrics.updates_dropped.labels("REPEATED").inc()

    async def _watch_for_silence(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now_s = self._clock.monotonic_s()
            if any(now_s - sent.sent_s > self._answer_limit_s for sent in self._under_way.values()):
                raise UnavailableError("gallery", f"no answer to an update for {self._answer_limit_s:g} s")

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def folded(older: TrackletUpdate, newer: TrackletUpdate) -> TrackletUpdate:
    """Two updates of one tracklet as one: the newest state, and the best samples of both in order of capture."""
    best = sorted([*older.samples, *newer.samples], key=lambda sample: sample.quality.overall)[-MAX_SAMPLES:]
    samples = tuple(sorted(best, key=lambda sample: sample.capture_time))
    return replace(newer, samples=samples, ended=older.ended or newer.ended)


async def _forever_unless_failed(sender: asyncio.Task[None]) -> None:
    await sender
    await asyncio.Event().wait()
