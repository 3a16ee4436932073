"""One loaded version of one encoder, and the way of a picture through it.

admission -> decode -> detect -> find -> embed. Decoding and finding run on worker threads, the networks in the batches
of the scheduler. Between two stages it is seen whether anybody still wants the answer.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from encoder_svc.admission import Admission
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.pipeline import (
    DETECT_BATCH,
    EMBED_BATCH,
    REFINE_BATCH,
    EncodedFrame,
    EncodeOptions,
    FacePipeline,
    FoundFaces,
    PreparedFrame,
)
from encoder_svc.scheduling.scheduler import Scheduler
from encoder_svc.scheduling.work import Done, Stage, WorkClass
from encoder_svc.workers import Workers
from tessera.chassis.clock import Clock
from tessera.chassis.tracing import record
from tessera.client.stream_values import KnownTracklet
from tessera.domain.errors import ExpiredError
from tessera.imaging.refine import VIEWS

_WARM_UP_SIZES_PX = ((360, 640), (480, 640), (640, 360), (640, 640))
_WARM_UP_BATCHES = (1, 2, 4, 8)


_HEADER_READ_AT_ONCE_BYTES = 1 << 20

T = TypeVar("T")


class Shaped(Protocol):
    """What a network sees; items of one shape share a batch."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its size."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What all versions of all encoders of one device share."""

    admission: Admission
    scheduler: Scheduler
    workers: Workers
    clock: Clock
    metrics: EncoderMetrics


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture to encode, and who wants what of it."""

    data: bytes
    """JPEG, PNG, WebP or BMP."""
    options: EncodeOptions
    work_class: WorkClass
    known: Sequence[KnownTracklet] = ()
    """Tracklets that need no new embedding."""
    expires_at_s: float | None = None
    """On the clock's monotonic time; later nobody wants the answer."""
    source: str = ""
    """The stream that it comes from; empty: none."""


class EncoderVersion:
    """A pipeline behind the queues of its device.

    Args:
        pipeline: its networks.
        parts: what it shares with other encoders.
        priority: among encoders, within a class of work: lower goes first.
    """

    def __init__(self, pipeline: FacePipeline, parts: Parts, priority: int = 0) -> None:
        self.pipeline = pipeline
        self._parts = parts
        name = pipeline.manifest.name
        self._detect = Stage("detect", name, 0, DETECT_BATCH, pipeline.detect, priority)
        self._look = Stage("refine", name, 1, REFINE_BATCH, pipeline.look, priority)
        self._pad = Stage("pad", name, 2, EMBED_BATCH, pipeline.judge, priority)
        self._embed = Stage("embed", name, 2, EMBED_BATCH, pipeline.embed, priority)
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def under_way(self) -> int:
        """Pictures that it has begun and not finished."""
        return self._under_way

    async def finished(self) -> None:
        """Wait until nothing is under way."""
        await self._idle.wait()

    async def encode(self, picture: Picture) -> EncodedFrame:
        """Encode one picture when its turn comes.

        Raises:
            ImageRejectedError: the picture cannot be used.
            ExpiredError: its time ran out first.
            OverloadedError: a queue was full, or newer work took its place.
            UnavailableError: the scheduler is closed.
        """
        self._under_way += 1
        self._idle.clear()
        try:
            return await self._encode(picture)
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._idle.set()

    async def warm_up(self) -> None:
        """Run every network at the usual shapes and batch sizes, so that no caller pays for what is built on first use,
        and so that the scheduler knows what a batch costs.

        Raises:
            UnavailableError: the scheduler is closed.
        """
        crop = self.pipeline.blank_crop()
        for batch in _WARM_UP_BATCHES:
            await self._rehearse(self._embed, crop.shape, [crop] * batch)
        for height_px, width_px in _WARM_UP_SIZES_PX:
            frame = self.pipeline.blank_frame(height_px, width_px)
            for batch in _WARM_UP_BATCHES[:3]:
                await self._rehearse(self._detect, frame.shape, [frame] * batch)
        views = self.pipeline.blank_views() if self.pipeline.refines else ()
        for view in views:
            for batch in _WARM_UP_BATCHES:
                await self._rehearse(self._look, view.shape, [view] * batch)
        lone = [(self._detect, self.pipeline.blank_frame(*_WARM_UP_SIZES_PX[0]).shape, 1)]
        lone += [(self._look, view.shape, VIEWS // len(views)) for view in views]
        lone += [(self._embed, crop.shape, 1)]
        self._parts.scheduler.way_of_a_picture(self.pipeline.manifest.name, lone)

    async def _rehearse(self, stage: Stage, bucket: Hashable, items: Sequence[object]) -> None:
        for learn in (False, True):
            await asyncio.wrap_future(self._parts.scheduler.rehearse(stage, bucket, items, learn=learn))

    async def _encode(self, picture: Picture) -> EncodedFrame:
        parts, received_s = self._parts, self._parts.clock.monotonic_s()
        async with parts.admission.entered(picture.work_class, self._remaining_s(picture)) as slot:
            record("queue", received_s, parts.clock.monotonic_s())
            size = await self._decoded_bytes(picture)
            async with parts.admission.pixels.held(picture.work_class, size):
                self._require_wanted(picture, "decoding")
                frame = await self._beside("decode", picture, self.pipeline.prepare, picture.data)
                self._require_wanted(picture, "detection")
                (detected,) = await self._in_batches(self._detect, [frame.detector], picture)
                slot.leave()
                find = (self.pipeline.find, frame, detected.output, picture.options, picture.known)
                found = await self._beside("align", picture, *find)
                refine_s = await self._refine(found, picture)
            self._require_wanted(picture, "embedding")
            await self._judge(found, picture)
            embed_s = await self._embed_wanted(found, picture)
            return self._answer(frame, found, detected.run_s + refine_s, embed_s, received_s)

    async def _decoded_bytes(self, picture: Picture) -> int:
        """What the decoded picture will take. Reading a header takes microseconds, unless a long file hides it."""
        if len(picture.data) <= _HEADER_READ_AT_ONCE_BYTES:
            return self.pipeline.decoded_bytes(picture.data)
        return await self._beside("header", picture, self.pipeline.decoded_bytes, picture.data)

    async def _beside(self, name: str, picture: Picture, work: Callable[..., T], *arguments: object) -> T:
        """What is done beside the networks, on a worker; the scheduler knows that more of this picture comes."""
        started_s = self._parts.clock.monotonic_s()
        with self._parts.scheduler.announced(picture.work_class):
            done = await self._parts.workers.run(picture.work_class, work, *arguments)
        record(name, started_s, self._parts.clock.monotonic_s())
        return done

    async def _refine(self, found: FoundFaces, picture: Picture) -> float:
        """Take the closer look where the recipe has one; return how long the network ran for it."""
        if not found.views:
            return 0.0
        done = await self._in_batches(self._look, found.views, picture)
        await self._beside("align", picture, self.pipeline.realign, found, [one.output for one in done])
        return _run_s(done)

    async def _judge(self, found: FoundFaces, picture: Picture) -> None:
        """Ask presentation-attack weights, where somebody brought them."""
        if found.surroundings:
            done = await self._in_batches(self._pad, found.surroundings, picture)
            self.pipeline.give_liveness(found.wanted, [one.output for one in done])

    async def _embed_wanted(self, found: FoundFaces, picture: Picture) -> float:
        """Give each wanted face its embedding; return how long the network ran for it."""
        if not found.wanted:
            return 0.0
        done = await self._in_batches(self._embed, [candidate.crop for candidate in found.wanted], picture)
        self.pipeline.give_embeddings(found.wanted, [one.output for one in done])
        return _run_s(done)

    async def _in_batches(self, stage: Stage, payloads: Sequence[Shaped], picture: Picture) -> list[Done]:
        frame = object()
        works = [
            self._parts.scheduler.submit(
                stage,
                payload.shape,
                payload,
                picture.work_class,
                frame=frame,
                source=picture.source,
                expires_at_s=picture.expires_at_s,
            )
            for payload in payloads
        ]
        try:
            done = await _all_done([work.future for work in works])
        except BaseException:
            for work in works:
                work.future.cancel()
            raise
        finally:
            del works  # an error's traceback holds this frame: the payloads would wait for the garbage collector
        for batch in {one.started_s: one for one in done}.values():
            record(stage.name, batch.started_s, batch.started_s + batch.run_s, {"batch": batch.items})
        return done

    def _answer(
        self, frame: PreparedFrame, found: FoundFaces, detect_s: float, embed_s: float, received_s: float
    ) -> EncodedFrame:
        answer = self.pipeline.seen(frame, found, detect_s * 1e3, embed_s * 1e3)
        total_ms = (self._parts.clock.monotonic_s() - received_s) * 1e3
        queue_ms = max(0.0, total_ms - answer.times.total_ms)
        return replace(answer, times=replace(answer.times, queue_ms=queue_ms, total_ms=total_ms))

    def _remaining_s(self, picture: Picture) -> float | None:
        if picture.expires_at_s is None:
            return None
        return picture.expires_at_s - self._parts.clock.monotonic_s()

    def _require_wanted(self, picture: Picture, stage: str) -> None:
        remaining_s = self._remaining_s(picture)
        if remaining_s is not None and remaining_s <= 0.0:
            raise ExpiredError(stage)


def _run_s(done: Sequence[Done]) -> float:
    """How long the batches ran that some items were in; each batch once."""
    return sum({one.started_s: one.run_s for one in done}.values())


async def _all_done(futures: list[Future[Done]]) -> list[Done]:
    """Wait for all, or for the first that failed; the event loop is woken once."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    counted, last = itertools.count(1), len(futures)
    future: Future[Done] | None = None
    failed: Future[Done] | None = None

    def tell() -> None:
        if not over.done():
            over.set_result(None)

    def one_done(future: Future[Done]) -> None:
        # On the lane's thread. Only the last one and a failure concern the loop.
        if next(counted) == last or future.cancelled() or future.exception() is not None:
            loop.call_soon_threadsafe(tell)

    try:
        for future in futures:
            future.add_done_callback(one_done)
        await over
        # One that failed stands for all; the others are the caller's to cancel.
        failed = next((future for future in futures if future.done() and future.exception() is not None), None)
        return [future.result() for future in ([failed] if failed is not None else futures)]
    finally:
        # An error's traceback holds this frame: the payloads would wait for the garbage collector.
        futures, future, failed = [], None, None
