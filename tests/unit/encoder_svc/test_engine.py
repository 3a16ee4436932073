"""The engine: verify calls neither wait behind the frames of cameras nor are refused because of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from encoder_svc.engine import Engine
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.pipeline import EncodedFrame, EncodeOptions, FacePipeline, PreparedFrame
from encoder_svc.scheduler import OverflowPolicy, QueueRule, Scheduler, WorkClass
from tessera.chassis.clock import SystemClock
from tessera.client.stream_values import KnownTracklet, StageTimes
from tessera.domain.artifact import load_manifest
from tessera.domain.errors import OverloadedError
from tessera.imaging.preprocess import detector_input

FRAME, DOOR = b"a frame of a camera", b"a picture from a door"


class SlowToDecodeFrames:
    """A pipeline that needs for ever to decode the frames of cameras."""

    manifest, device = load_manifest("face-sface-1"), "cpu"

    def __init__(self) -> None:
        self.may_decode = threading.Event()

    def warm_up(self) -> None:
        """It is warm."""

    def prepare(self, data: bytes) -> PreparedFrame:
        """Decode a door's picture at once."""
        if data == FRAME:
            self.may_decode.wait(10)
        image = np.zeros((64, 64, 3), dtype=np.uint8)
        return PreparedFrame(image, detector_input(image, 64), 0.0)

    def encode(self, frame: PreparedFrame, options: EncodeOptions, known: Sequence[KnownTracklet]) -> EncodedFrame:
        """See nobody."""
        return EncodedFrame((), 64, 64, StageTimes())


@asynccontextmanager
async def started(pipeline: SlowToDecodeFrames) -> AsyncIterator[Engine]:
    """An engine that takes two pieces of work of each class."""
    metrics, rule = EncoderMetrics(CollectorRegistry()), QueueRule(2, OverflowPolicy.REFUSE_NEWEST, every_nth=2)
    engine = Engine(
        lambda: cast("FacePipeline", pipeline),
        Scheduler(dict.fromkeys(WorkClass, rule), SystemClock(), metrics, on_start=lambda: None),
        decode_threads=1,
        max_decoding=dict.fromkeys(WorkClass, 2),
        clock=SystemClock(),
        metrics=metrics,
    )
    await engine.start()
    try:
        yield engine
    finally:
        pipeline.may_decode.set()
        await engine.close()


async def test_a_verify_call_passes_the_frames_that_wait_to_be_decoded() -> None:
    """Cameras may fill their own places alone."""
    pipeline = SlowToDecodeFrames()
    async with started(pipeline) as engine, asyncio.timeout(10):
        frames = [asyncio.create_task(engine.encode(FRAME, EncodeOptions(), WorkClass.STREAM)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="stream"):
            await engine.encode(FRAME, EncodeOptions(), WorkClass.STREAM)
        answer = await engine.encode(DOOR, EncodeOptions(), WorkClass.INTERACTIVE)
        assert answer.faces == ()
        assert not any(frame.done() for frame in frames)
        pipeline.may_decode.set()
        assert len(await asyncio.gather(*frames)) == 2
