"""One loaded version of one encoder, and the way of a picture through it.

admission -> decode -> detect -> find -> embed. Decoding and finding run on worker threads, the networks in the batches
of the scheduler. Between two stages it is seen whether anybody still wants the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from encoder_svc.admission import Admission
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.pipeline import (
    DETECT_BATCH,
    EMBED_BATCH,
    Candidate,
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
from tessera.client.stream_values import KnownTracklet
from tessera.domain.errors import ExpiredError

_WARM_UP_SIZES_PX = ((360, 640), (480, 640), (640, 360), (640, 640))
_WARM_UP_BATCHES = (1, 2, 4, 8)


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
        self._embed = Stage("embed", name, 1, EMBED_BATCH, pipeline.embed, priority)
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

    async def _rehearse(self, stage: Stage, bucket: Hashable, items: Sequence[object]) -> None:
        for learn in (False, True):
            await asyncio.wrap_future(self._parts.scheduler.rehearse(stage, bucket, items, learn=learn))

    async def _encode(self, picture: Picture) -> EncodedFrame:
        parts, received_s = self._parts, self._parts.clock.monotonic_s()
        async with parts.admission.entered(picture.work_class, self._remaining_s(picture)) as slot:
            with parts.scheduler.announced(picture.work_class):
                size = await parts.workers.run(picture.work_class, self.pipeline.decoded_bytes, picture.data)
            async with parts.admission.pixels.held(picture.work_class, size):
                self._require_wanted(picture, "decoding")
                with parts.scheduler.announced(picture.work_class):
                    frame = await parts.workers.run(picture.work_class, self.pipeline.prepare, picture.data)
                self._require_wanted(picture, "detection")
                (detected,) = await self._in_batches(self._detect, frame.detector.shape, [frame.detector], picture)
                slot.leave()
                with parts.scheduler.announced(picture.work_class):
                    found = await parts.workers.run(
                        picture.work_class, self.pipeline.find, frame, detected.output, picture.options, picture.known
                    )
        self._require_wanted(picture, "embedding")
        embed_s = await self._embed_wanted(found, picture)
        return self._answer(frame, found, detected, embed_s, received_s)

    async def _embed_wanted(self, found: FoundFaces, picture: Picture) -> float:
        """Give each wanted face its embedding; return how long the networks ran for it."""
        wanted: list[Candidate] = found.wanted
        if not wanted:
            return 0.0
        crops = [candidate.crop for candidate in wanted]
        done = await self._in_batches(self._embed, crops[0].shape, crops, picture)
        self.pipeline.give_embeddings(wanted, [one.output for one in done])
        batches = {one.started_s: one.run_s for one in done}
        return sum(batches.values())

    async def _in_batches(
        self, stage: Stage, bucket: tuple[int, ...], payloads: Sequence[object], picture: Picture
    ) -> list[Done]:
        frame = object()
        works = [
            self._parts.scheduler.submit(
                stage,
                bucket,
                payload,
                picture.work_class,
                frame=frame,
                source=picture.source,
                expires_at_s=picture.expires_at_s,
            )
            for payload in payloads
        ]
        try:
            return [await asyncio.wrap_future(work.future) for work in works]
        except BaseException:
            for work in works:
                work.future.cancel()
            raise

    def _answer(
        self, frame: PreparedFrame, found: FoundFaces, detected: Done, embed_s: float, received_s: float
    ) -> EncodedFrame:
        answer = self.pipeline.seen(frame, found, detected.run_s * 1e3, embed_s * 1e3)
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
