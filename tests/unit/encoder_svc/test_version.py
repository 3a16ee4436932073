"""The way of a picture: what is encoded, what expires between stages, what a caller who goes away leaves: nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from encoder_svc.faces.found import FoundFaces
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.frames import EncodeOptions, Picture
from encoder_svc.looking import PreparedFrame
from encoder_svc.scheduling.work import Done, WorkClass, run_ms
from encoder_svc.version import EncoderVersion, Parts
from tessera.chassis.clock import ManualClock
from tessera.domain.errors import ExpiredError, ImageRejectedError, OverloadedError, UnavailableError
from tessera.imaging.decode import DecodeLimits
from tests.encoder_world import (
    LIMIT_S,
    NOTHING,
    NOW,
    Barrier,
    build_parts,
    left_over,
    manifest_named,
    picture,
    picture_bytes,
    pipeline_of,
    see,
    tell,
)
from tests.eventually import eventually

MANIFEST = manifest_named("face-test")


@asynccontextmanager
async def started(parts: Parts) -> AsyncIterator[Parts]:
    """Lanes that run; at the end nothing may be left of any picture."""
    parts.scheduler.start()
    try:
        yield parts
        await _until(lambda: left_over(parts) == NOTHING)
    finally:
        await asyncio.to_thread(parts.scheduler.close)


async def _until(condition: Callable[[], bool]) -> None:
    async def asked() -> bool:
        return condition()

    await eventually(asked)


@pytest.mark.parametrize("faces", [0, 1, 4])
async def test_a_picture_goes_the_whole_way(faces: int) -> None:
    """The same faces and embeddings as in one call, whatever batches they were in, and times that add up."""
    pipeline = pipeline_of(MANIFEST)
    expected = pipeline.run(picture_bytes(faces))
    async with started(build_parts(lanes=2)) as parts:
        version = EncoderVersion(pipeline, parts)
        for frame in await asyncio.gather(*(version.encode(picture(faces)) for _ in range(5))):
            assert len(frame.samples) == faces
            for seen, wanted in zip(frame.observations, expected.observations, strict=True):
                assert seen.box == wanted.box
                assert seen.embedding is not None
                assert wanted.embedding is not None
                np.testing.assert_allclose(seen.embedding.vector, wanted.embedding.vector, atol=1e-6)
            times = frame.times
            spent = times.decode_ms + times.detect_ms + times.align_ms + times.quality_ms + times.embed_ms
            assert times.total_ms == pytest.approx(times.queue_ms + spent)
        assert version.under_way == 0


async def test_each_face_gets_its_own_embedding_although_pictures_share_batches() -> None:
    """Faces of many pictures are embedded together, and none is mixed up."""
    pipeline = pipeline_of(MANIFEST)
    async with started(build_parts(window=20)) as parts:
        version = EncoderVersion(pipeline, parts)
        await version.warm_up()
        counts = [n % 5 for n in range(20)]
        frames = await asyncio.gather(*(version.encode(picture(n)) for n in counts))
        for faces, frame in zip(counts, frames, strict=True):
            alone = pipeline.run(picture_bytes(faces))
            vectors = [[o.embedding.vector for o in one.observations if o.embedding] for one in (frame, alone)]
            np.testing.assert_allclose(np.array(vectors[0]), np.array(vectors[1]), atol=1e-6)


async def test_a_picture_that_cannot_be_used_leaves_nothing() -> None:
    """Its reason reaches the caller."""
    async with started(build_parts()) as parts:
        version = EncoderVersion(pipeline_of(MANIFEST), parts)
        for data in (b"", b"no picture", picture_bytes()[:100]):
            with pytest.raises(ImageRejectedError):
                await version.encode(Picture(data, EncodeOptions(), WorkClass.STREAM))


async def test_a_picture_that_will_be_refused_does_not_wait_for_memory() -> None:
    """One above the pixel limit is told so while all memory is taken, and takes none."""
    parts = build_parts(decoded_bytes=1000)
    small = FacePipeline(MANIFEST, pipeline_of(MANIFEST)._networks, limits=DecodeLimits(max_pixels=100))
    async with started(parts), parts.admission.pixels.held(WorkClass.STREAM, 1000):
        with pytest.raises(ImageRejectedError, match="TOO_MANY_PIXELS"):
            await asyncio.wait_for(EncoderVersion(small, parts).encode(picture()), LIMIT_S)


async def test_a_defect_of_a_network_fails_its_pictures_and_no_others() -> None:
    """The next picture is encoded."""

    class Breaks:
        broken = True

        def __call__(self, batch: object) -> object:
            if self.broken:
                raise ZeroDivisionError
            return see(batch)  # type: ignore[arg-type]

    detector = Breaks()
    async with started(build_parts()) as parts:
        version = EncoderVersion(pipeline_of(MANIFEST, detector), parts)  # type: ignore[arg-type]
        with pytest.raises(ZeroDivisionError):
            await version.encode(picture())
        detector.broken = False
        assert len((await version.encode(picture(2))).samples) == 2


@pytest.mark.parametrize(
    ("spans", "expected_ms"),
    [
        ([], 0.0),
        ([(1.0, 0.5)], 500.0),
        ([(1.0, 0.5), (1.0, 0.5)], 500.0),
        ([(1.0, 0.5), (1.25, 0.5)], 750.0),
        ([(2.0, 1.0), (1.0, 3.0)], 3000.0),
        ([(3.0, 0.5), (1.0, 0.5)], 1000.0),
    ],
)
def test_batches_on_two_lanes_at_a_time_count_once(spans: list[tuple[float, float]], expected_ms: float) -> None:
    """What a picture's times add up to never exceeds what it took."""
    done = [Done(None, run_s, 1, started_s) for started_s, run_s in spans]
    assert run_ms(done) == pytest.approx(expected_ms)


# ---- expiry


class _Slow(FacePipeline):
    """A pipeline that takes its time on the clock of the test."""

    clock: ManualClock
    prepare_s = 0.0
    find_s = 0.0

    def prepare(self, data: bytes) -> PreparedFrame:
        """Decode for `prepare_s`."""
        self.clock.advance(self.prepare_s)
        return super().prepare(data)

    def find(self, *arguments: object) -> FoundFaces:  # type: ignore[override]
        """Measure for `find_s`."""
        self.clock.advance(self.find_s)
        return super().find(*arguments)  # type: ignore[arg-type]


def _slow(clock: ManualClock, prepare_s: float = 0.0, find_s: float = 0.0) -> _Slow:
    made = _Slow(MANIFEST, pipeline_of(MANIFEST)._networks)
    made.clock, made.prepare_s, made.find_s = clock, prepare_s, find_s
    return made


@pytest.mark.parametrize(
    ("prepare_s", "find_s", "left_s", "stage"),
    [(0.0, 0.0, 0.0, "queue"), (2.0, 0.0, 1.0, "detect"), (0.0, 2.0, 1.0, "embed")],
)
async def test_an_expired_picture_goes_no_further(prepare_s: float, find_s: float, left_s: float, stage: str) -> None:
    """Before decoding and between the stages it is seen whether anybody still wants the answer."""
    clock = ManualClock(NOW)
    async with started(build_parts(clock=clock)) as parts:
        version = EncoderVersion(_slow(clock, prepare_s, find_s), parts)
        with pytest.raises(ExpiredError) as caught:
            await version.encode(picture(1, expires_at_s=clock.monotonic_s() + left_s))
        assert caught.value.stage == stage


async def test_a_picture_that_expires_while_it_waits_for_memory_is_not_decoded() -> None:
    """It gives its place back."""
    clock = ManualClock(NOW)
    async with started(build_parts(clock=clock, decoded_bytes=1)) as parts:
        version = EncoderVersion(pipeline_of(MANIFEST), parts)
        async with parts.admission.pixels.held(WorkClass.STREAM, 1):
            waiting = asyncio.create_task(version.encode(picture(expires_at_s=1.0)))
            await _until(lambda: any(parts.admission.pixels._waiting.values()))
            clock.advance(2.0)
        with pytest.raises(ExpiredError, match="queue"):
            await waiting


async def test_a_picture_that_expires_in_a_queue_of_the_device_is_not_run() -> None:
    """Its neighbour is."""
    clock = ManualClock(NOW)
    detector = Barrier(see)
    async with started(build_parts(clock=clock, helpers=1)) as parts:
        version = EncoderVersion(pipeline_of(MANIFEST, detector), parts)
        first = asyncio.create_task(version.encode(picture(1)))
        await _until(detector.begun.is_set)
        late = asyncio.create_task(version.encode(picture(1, expires_at_s=1.0)))
        stays = asyncio.create_task(version.encode(picture(1, expires_at_s=5.0)))
        await _until(lambda: parts.scheduler._device.depth == 2)
        clock.advance(2.0)
        detector.may_go.set()
        with pytest.raises(ExpiredError, match="detect"):
            await late
        assert len((await stays).samples) == len((await first).samples) == 1


# ---- going away


class _Stages:
    """A pipeline that can be stopped in any stage."""

    def __init__(self, stop_in: str) -> None:
        self.detector, self.embedder = Barrier(see), Barrier(tell)
        self.begun, self.may_go = threading.Event(), threading.Event()
        outer = self

        class Stopping(FacePipeline):
            def _stop(self, stage: str) -> None:
                if stage == stop_in:
                    outer.begun.set()
                    assert outer.may_go.wait(LIMIT_S)

            def prepare(self, data: bytes) -> PreparedFrame:
                self._stop("decode")
                return super().prepare(data)

            def detect(self, inputs: object) -> list[object]:  # type: ignore[override]
                self._stop("detect")
                return super().detect(inputs)  # type: ignore[arg-type,return-value]

            def find(self, *arguments: object) -> FoundFaces:  # type: ignore[override]
                self._stop("find")
                return super().find(*arguments)  # type: ignore[arg-type]

            def embed(self, crops: object) -> object:  # type: ignore[override]
                self._stop("embed")
                return super().embed(crops)  # type: ignore[arg-type]

        self.pipeline = Stopping(MANIFEST, pipeline_of(MANIFEST)._networks)


@pytest.mark.parametrize("stage", ["decode", "detect", "find", "embed"])
async def test_a_caller_who_goes_away_in_any_stage_leaves_nothing(stage: str) -> None:
    """Nothing in the scheduler, the window or the memory; and the next picture is encoded."""
    stages = _Stages(stage)
    async with started(build_parts(window=1)) as parts:
        version = EncoderVersion(stages.pipeline, parts)
        gone = asyncio.create_task(version.encode(picture(2)))
        await _until(stages.begun.is_set)
        waiting = asyncio.create_task(version.encode(picture(2)))
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        stages.may_go.set()
        assert len((await waiting).samples) == 2
        assert version.under_way == 0


async def test_a_caller_who_goes_away_while_waiting_leaves_nothing() -> None:
    """At the door, and in the queue of the device."""
    detector = Barrier(see)
    async with started(build_parts(window=2)) as parts:
        version = EncoderVersion(pipeline_of(MANIFEST, detector), parts)
        first = asyncio.create_task(version.encode(picture()))
        await _until(detector.begun.is_set)
        queued = asyncio.create_task(version.encode(picture()))
        await _until(lambda: parts.scheduler.depth() == 1)
        at_the_door = asyncio.create_task(version.encode(picture()))
        await _until(lambda: parts.admission.waiting() == 1)
        for task in (queued, at_the_door):
            task.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError)
            for end in await asyncio.gather(queued, at_the_door, return_exceptions=True)
        )
        detector.may_go.set()
        await first


# ---- the end


async def test_pictures_that_wait_when_the_device_goes_are_unavailable() -> None:
    """In the queue of the device, between two of their steps, and those that come afterwards."""
    detector = Barrier(see)
    async with started(build_parts()) as parts:
        version = EncoderVersion(pipeline_of(MANIFEST, detector), parts)
        first = asyncio.create_task(version.encode(picture()))
        await _until(detector.begun.is_set)
        waiting = asyncio.create_task(version.encode(picture()))
        await _until(lambda: parts.scheduler.depth() == 1)
        closing = asyncio.create_task(asyncio.to_thread(parts.scheduler.close))
        with pytest.raises(UnavailableError):
            await waiting
        detector.may_go.set()
        await closing
        with pytest.raises(UnavailableError):
            await first
        with pytest.raises(UnavailableError):
            await version.encode(picture())


async def test_warming_up_teaches_the_costs_of_every_usual_batch() -> None:
    """So that the first caller pays for nothing, and the first batch is of the right size."""
    async with started(build_parts()) as parts:
        version = EncoderVersion(pipeline_of(MANIFEST), parts)
        await version.warm_up()
        costs = parts.scheduler._costs
        assert costs.predict(version._route._embed.cost_key(version.pipeline.blank_crop().shape), 8) is not None
        assert costs.predict(version._route._detect.cost_key((640, 640)), 4) is not None


async def test_a_full_door_refuses_verify_calls_and_drops_old_frames() -> None:
    """Whoever is turned away hears it at once."""
    detector = Barrier(see)
    async with started(build_parts(window=1, limit=1)) as parts:
        version = EncoderVersion(pipeline_of(MANIFEST, detector), parts)
        running = [
            asyncio.create_task(version.encode(picture(0, c))) for c in (WorkClass.INTERACTIVE, WorkClass.STREAM)
        ]
        await _until(lambda: left_over(parts)["inside"] == 2)
        call, frame = (
            asyncio.create_task(version.encode(picture(0, c))) for c in (WorkClass.INTERACTIVE, WorkClass.STREAM)
        )
        await _until(lambda: parts.admission.waiting() == 2)
        with pytest.raises(OverloadedError):
            await version.encode(picture(0, WorkClass.INTERACTIVE))
        newest = asyncio.create_task(version.encode(picture(0, WorkClass.STREAM)))
        with pytest.raises(OverloadedError):
            await frame
        detector.may_go.set()
        await asyncio.gather(*running, call, newest)
