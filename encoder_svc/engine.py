"""The encoder itself: a pipeline on its device, behind queues, with a state that callers can ask for.

It loads in the background, warms up before it takes work, and counts the outcome of every picture. Decoding happens on
threads of its own, so that neither the event loop nor the device waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from enum import StrEnum

from encoder_svc.metrics import EncoderMetrics
from encoder_svc.pipeline import EncodedFrame, EncodeOptions, FacePipeline
from encoder_svc.scheduler import Scheduler, WorkClass
from tessera.chassis.clock import Clock
from tessera.client.stream_values import KnownTracklet
from tessera.domain.errors import ExpiredError, ImageRejectedError, OverloadedError, UnavailableError


class EngineState(StrEnum):
    """What an encoder is doing."""

    LOADING = "LOADING"
    WARMING_UP = "WARMING_UP"
    READY = "READY"
    DRAINING = "DRAINING"
    FAILED = "FAILED"


class Engine:
    """One encoder on one device.

    Args:
        load: makes the pipeline; runs on a decode thread, may download.
        scheduler: owns the device's thread; not yet started.
        decode_threads: how many pictures of one class of work are decoded at a time.
        max_decoding: pictures that may be with the decoders, by class of work; one more is refused.
        clock: for deadlines.
        metrics: where outcomes are counted.
    """

    def __init__(
        self,
        load: Callable[[], FacePipeline],
        scheduler: Scheduler,
        *,
        decode_threads: int,
        max_decoding: Mapping[WorkClass, int],
        clock: Clock,
        metrics: EncoderMetrics,
    ) -> None:
        self._load = load
        self._scheduler = scheduler
        # Threads of its own for each class: a verify call does not wait in line behind the frames of all cameras.
        self._decoders = {
            work_class: ThreadPoolExecutor(decode_threads, thread_name_prefix=f"decode-{work_class}")
            for work_class in WorkClass
        }
        self._max_decoding = dict(max_decoding)
        self._decoding = dict.fromkeys(WorkClass, 0)
        self._clock = clock
        self._metrics = metrics
        self._pipeline: FacePipeline | None = None
        self.draining = asyncio.Event()
        self.state = EngineState.LOADING
        self.state_detail = ""

    @property
    def pipeline(self) -> FacePipeline | None:
        """The pipeline, once it is loaded."""
        return self._pipeline

    async def start(self) -> None:
        """Load and warm up; work is taken afterwards.

        Raises:
            ArtifactError: the weights cannot be had; may be tried again.
        """
        self.state, self.state_detail = EngineState.LOADING, ""
        try:
            decoders = self._decoders[WorkClass.INTERACTIVE]
            pipeline = await asyncio.get_running_loop().run_in_executor(decoders, self._load)
            self.state = EngineState.WARMING_UP
            self._scheduler.start()
            await asyncio.wrap_future(self._scheduler.submit(WorkClass.INTERACTIVE, pipeline.warm_up))
        except Exception as error:
            self.state, self.state_detail = EngineState.FAILED, str(error)
            raise
        self._pipeline = pipeline
        self._metrics.show_model(pipeline.manifest, str(pipeline.device))
        self.state = EngineState.DRAINING if self.draining.is_set() else EngineState.READY

    def drain(self) -> None:
        """Take no more work; what is under way is finished."""
        self.state = EngineState.DRAINING
        self.draining.set()

    async def close(self) -> None:
        """End the threads."""
        self.drain()
        await asyncio.to_thread(self._scheduler.close)
        for decoders in self._decoders.values():
            decoders.shutdown(wait=False, cancel_futures=True)

    def require_ready(self) -> FacePipeline:
        """The pipeline, if it takes work.

        Raises:
            UnavailableError: it is loading, warming up, draining or failed.
        """
        if self._pipeline is None or self.state is not EngineState.READY:
            raise UnavailableError("encoder", self.state.value.lower().replace("_", " "))
        return self._pipeline

    async def encode(
        self,
        data: bytes,
        options: EncodeOptions,
        work_class: WorkClass,
        known: Sequence[KnownTracklet] = (),
        expires_at_s: float | None = None,
    ) -> EncodedFrame:
        """Encode one picture when its turn comes, and count what became of it.

        Args:
            data: JPEG, PNG, WebP or BMP.
            options: what to find.
            work_class: whose work it is.
            known: tracklets that need no new embedding.
            expires_at_s: on the clock's monotonic time; later nobody wants the answer.

        Raises:
            ImageRejectedError: the picture cannot be used.
            ExpiredError: its time ran out first.
            OverloadedError: a queue was full, or newer work took its place.
            UnavailableError: the encoder takes no work.
        """
        try:
            frame = await self._encode(data, options, work_class, known, expires_at_s)
        except BaseException as error:
            self._metrics.frames.labels(work_class.value, *_outcome_of(error)).inc()
            raise
        self._metrics.observe_frame(work_class.value, frame)
        return frame

    async def _encode(
        self,
        data: bytes,
        options: EncodeOptions,
        work_class: WorkClass,
        known: Sequence[KnownTracklet],
        expires_at_s: float | None,
    ) -> EncodedFrame:
        pipeline, received_s = self.require_ready(), self._clock.monotonic_s()
        limit = self._max_decoding[work_class]
        if self._decoding[work_class] >= limit:
            raise OverloadedError(f"{work_class} decode queue", limit)
        self._decoding[work_class] += 1
        try:
            decoders = self._decoders[work_class]
            prepared = await asyncio.get_running_loop().run_in_executor(decoders, pipeline.prepare, data)
        finally:
            self._decoding[work_class] -= 1
        if expires_at_s is not None and self._clock.monotonic_s() >= expires_at_s:
            raise ExpiredError("queueing")
        work = self._scheduler.submit(work_class, lambda: pipeline.encode(prepared, options, known), expires_at_s)
        frame = await asyncio.wrap_future(work)
        total_ms = (self._clock.monotonic_s() - received_s) * 1e3
        queue_ms = max(0.0, total_ms - frame.times.total_ms)
        return replace(frame, times=replace(frame.times, queue_ms=queue_ms, total_ms=total_ms))


def _outcome_of(error: BaseException) -> tuple[str, str]:
    match error:
        case ImageRejectedError():
            return "failed", error.reason.value
        case ExpiredError():
            return "expired", "EXPIRED"
        case OverloadedError():
            return "skipped", "QUEUE_FULL"
        case UnavailableError():
            return "skipped", "ENCODER_UNAVAILABLE"
        case asyncio.CancelledError():
            return "cancelled", ""
        case _:
            return "failed", "INTERNAL"
