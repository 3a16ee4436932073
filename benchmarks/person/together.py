"""What faces and persons of one frame cost when they are asked for together, against two requests for the same frame.

    TESSERA_DATA=DIR make bench-person ARGS="together"

Through the service's own queues and scheduler, one lane, some frames under way at a time; counted is processor time.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from prometheus_client import CollectorRegistry

from benchmarks.figures import Figure
from benchmarks.person.plan import Context, figure
from benchmarks.person.product import load_compiled, settings
from benchmarks.person.speed import CLIP, pictures
from encoder_svc.__main__ import build_parts
from encoder_svc.frames import EncodeOptions, Picture
from encoder_svc.loading import load_face_pipeline
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.scheduling.work import WorkClass
from encoder_svc.version import EncoderVersion
from tessera.chassis.allocator import tune_for_networks
from tessera.chassis.clock import SystemClock

UNDER_WAY = 4

Ask = Callable[[Picture], Awaitable[object]]


def run(context: Context) -> list[Figure]:
    """Milliseconds of processor time a frame, both ways."""
    tune_for_networks()
    return asyncio.run(_run(context))


async def _run(context: Context) -> list[Figure]:
    parts = build_parts(settings(), SystemClock(), EncoderMetrics(CollectorRegistry()))
    persons, faces = load_compiled(), load_face_pipeline(settings())
    data = pictures(context.videos() / CLIP, persons)
    by_faces, by_persons = EncoderVersion(faces, parts), EncoderVersion(persons, parts)
    ways: dict[str, Ask] = {
        "together": lambda picture: by_faces.encode(replace(picture, persons=EncodeOptions()), by_persons),
        "apart": lambda picture: asyncio.gather(by_faces.encode(picture), by_persons.encode(picture)),
    }
    parts.scheduler.start()
    try:
        await by_faces.warm_up()
        await by_persons.warm_up()
        rounds = [{name: await _cpu_ms(ask, data) for name, ask in ways.items()} for _ in range(context.count(15, 3))]
    finally:
        await asyncio.to_thread(parts.scheduler.close)
    cpu_ms = {name: statistics.median(one[name] for one in rounds) for name in ways}
    ratio = statistics.median(one["apart"] / one["together"] for one in rounds)
    name = "together: faces and persons of a 720p frame with 5 persons"
    return [
        figure(f"{name}, one request", round(cpu_ms["together"], 1), "ms CPU a frame"),
        figure(f"{name}, two requests", round(cpu_ms["apart"], 1), "ms CPU a frame"),
        figure(f"{name}, saved by asking once", round(ratio, 2), "x, CPU time"),
    ]


async def _cpu_ms(ask: Ask, data: Sequence[bytes]) -> float:
    places = asyncio.Semaphore(UNDER_WAY)

    async def one(picture: Picture) -> None:
        async with places:
            await ask(picture)

    begun_s = time.process_time()
    await asyncio.gather(*(one(Picture(each, EncodeOptions(), WorkClass.STREAM)) for each in data))
    return 1e3 * (time.process_time() - begun_s) / len(data)
