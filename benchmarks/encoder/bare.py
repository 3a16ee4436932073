"""`python -m benchmarks.encoder.bare DEVICE`: the pipeline without the service, with as many threads as it has lanes.

No queue, no event loop, no transport; the JPEGs lie in memory. What the service loses against this is the price of
serving. On a CPU each thread goes round on its own: decode a batch, detect it, align and measure, embed full batches
of crops. On CUDA one thread runs the networks, and a pool decodes ahead of it and measures behind it, since a device
that waits for one thread's decoding would be no mark to measure against.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

from benchmarks.encoder.child import follow_orders
from benchmarks.encoder.faces import OPTIONS, load, look_closer, run_batch
from benchmarks.encoder.pictures import pictures_720p
from encoder_svc.device import prepare_inference_thread, tune_interpreter
from encoder_svc.faces.found import FoundFaces
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.looking import PreparedFrame
from tessera.chassis.allocator import tune_for_networks
from tessera.imaging.decode import Image

_BATCHES_AHEAD = 4


@dataclass(frozen=True, slots=True)
class BareOrder:
    """How to run."""

    lanes: int
    detect_batch: int
    embed_batch: int
    seconds: float
    warm_s: float = 2.0


@dataclass(slots=True)
class BareTally:
    """What was done."""

    images: int = 0
    faces: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Span:
    """When a run counts; monotonic."""

    begin_s: float
    end_s: float

    @property
    def over(self) -> bool:
        """Whether it has passed."""
        return time.perf_counter() >= self.end_s

    @property
    def counts(self) -> bool:
        """Whether what ends now counts."""
        return self.begin_s <= time.perf_counter() < self.end_s


def lane_alone(pipeline: FacePipeline, pictures: Sequence[bytes], order: BareOrder, span: Span) -> BareTally:
    """One thread does all of it, until the time is over."""
    tally, in_turn, crops = BareTally(), itertools.cycle(pictures), list[Image]()
    while not span.over:
        frames = [pipeline.prepare(next(in_turn)) for _ in range(order.detect_batch)]
        outputs = pipeline.detect([frame.detector for frame in frames])
        found = [pipeline.find(frame, output, OPTIONS) for frame, output in zip(frames, outputs, strict=True)]
        _embed(pipeline, crops, found, order.embed_batch)
        _count(tally, found, span)
    return tally


def lane_with_pool(pipeline: FacePipeline, pictures: Sequence[bytes], order: BareOrder, span: Span) -> BareTally:
    """One thread runs the networks; a pool decodes ahead and measures behind."""
    tally, in_turn, crops = BareTally(), itertools.cycle(pictures), list[Image]()
    finding: deque[Future[FoundFaces]] = deque()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        ahead: deque[Future[PreparedFrame]] = deque()
        while not span.over:
            while len(ahead) < _BATCHES_AHEAD * order.detect_batch:
                ahead.append(pool.submit(pipeline.prepare, next(in_turn)))
            frames = [ahead.popleft().result() for _ in range(order.detect_batch)]
            outputs = pipeline.detect([frame.detector for frame in frames])
            for frame, output in zip(frames, outputs, strict=True):
                finding.append(pool.submit(pipeline.find, frame, output, OPTIONS))
            found = list(_ended(finding, at_most=_BATCHES_AHEAD * order.detect_batch))
            _embed(pipeline, crops, found, order.embed_batch)
            _count(tally, found, span)
        pool.shutdown(cancel_futures=True)
    return tally


def _ended(finding: deque[Future[FoundFaces]], at_most: int) -> Iterator[FoundFaces]:
    """What has ended, in order; waits where more than `at_most` are under way."""
    while finding and (finding[0].done() or len(finding) > at_most):
        yield finding.popleft().result()


def _embed(pipeline: FacePipeline, crops: list[Image], found: Sequence[FoundFaces], batch: int) -> None:
    """Look closer, and embed full batches; the rest waits for the next pictures."""
    look_closer(pipeline, found)
    crops += [candidate.crop for faces in found for candidate in faces.wanted]
    while len(crops) >= batch:
        pipeline.embed(crops[:batch])
        del crops[:batch]


def _count(tally: BareTally, found: Sequence[FoundFaces], span: Span) -> None:
    if span.counts:
        tally.images += len(found)
        tally.faces += sum(len(faces.candidates) for faces in found)


class Bare:
    """The pipeline and the threads that run it; they stay the same ones, since CUDA graphs belong to a thread.

    Args:
        device: `cpu` or `cuda`.
    """

    def __init__(self, device: str) -> None:
        self._pipeline = load(device)
        self._pictures = pictures_720p()
        self._lane = lane_with_pool if device == "cuda" else lane_alone
        self._threads: list[ThreadPoolExecutor] = []

    def run(self, order: BareOrder) -> BareTally:
        """All lanes at once."""
        while len(self._threads) < order.lanes:
            self._threads.append(self._new_thread())
        begin_s = time.perf_counter() + order.warm_s
        span = Span(begin_s, begin_s + order.seconds)
        running = [
            # Each lane begins with another picture, so that they do not decode the same one at the same time.
            thread.submit(self._lane, self._pipeline, [*self._pictures[at:], *self._pictures[:at]], order, span)
            for at, thread in enumerate(self._threads[: order.lanes])
        ]
        tallies = [lane.result() for lane in running]
        return BareTally(sum(t.images for t in tallies), sum(t.faces for t in tallies), order.seconds)

    def _new_thread(self) -> ThreadPoolExecutor:
        thread = ThreadPoolExecutor(1, initializer=prepare_inference_thread, initargs=(1,))
        thread.submit(run_batch, self._pipeline, self._pictures).result()
        return thread


def main() -> None:
    """Follow the orders on stdin."""
    tune_for_networks()
    tune_interpreter()
    bare = Bare(sys.argv[1])

    async def handle(told: dict[str, Any], _: asyncio.Event) -> dict[str, Any]:
        return asdict(await asyncio.to_thread(bare.run, BareOrder(**told)))

    uvloop.run(follow_orders(handle))


if __name__ == "__main__":
    main()
