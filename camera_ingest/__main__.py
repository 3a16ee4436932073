"""camera_ingest as a process: its parts, wired by hand. Run with `python -m camera_ingest`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry

from camera_ingest.aligning import ClockWatch
from camera_ingest.announcing import Announcer
from camera_ingest.backoff import Backoff
from camera_ingest.camera import Camera
from camera_ingest.encoding import EncodingParts
from camera_ingest.evidence.evidence import Evidence
from camera_ingest.evidence.sealing import EvidenceKeys
from camera_ingest.evidence.vault import Limits, Vault
from camera_ingest.fleet import Fleet
from camera_ingest.jump_watch import JumpWatch
from camera_ingest.leases.keeper import Lease, LeaseKeeper
from camera_ingest.leases.process_mark import own_mark
from camera_ingest.leases.table import LeaseTable, MemoryLeaseTable, RedisLeaseTable
from camera_ingest.matching import Matcher
from camera_ingest.metrics import IngestMetrics
from camera_ingest.peers import Peers
from camera_ingest.quarantine import MemoryShelf, Quarantine, QuarantineShelf, RedisShelf
from camera_ingest.reading.feed import Feed, ReaderFeed
from camera_ingest.reading.host import ReaderHost
from camera_ingest.reading.order import ReadOrder
from camera_ingest.registry import CameraRegistry, MemoryCameraRegistry, RedisCameraRegistry
from camera_ingest.servicer import SERVICE, CameraServicer
from camera_ingest.settings import PREFIX, IngestSettings
from camera_ingest.sources.access import AccessRules
from camera_ingest.sources.url import parse_url
from camera_ingest.store import StoreConnection
from camera_ingest.turns import Turns
from camera_ingest.wire import EventPublisher, SightingsCheck
from camera_ingest.worker import CameraWorker
from camera_ingest.worker_parts import WorkerParts
from tessera.chassis.allocator import tune_for_pictures
from tessera.chassis.channel import open_channel
from tessera.chassis.clock import Clock, SystemClock
from tessera.chassis.logs import configure_logs, get_logger
from tessera.chassis.server import Server, run_service, wait_for_stop_signal
from tessera.chassis.settings import MEMORY, load_settings, redacted
from tessera.chassis.tasks import end_tasks
from tessera.chassis.tracing import Tracing, open_tracing
from tessera.client.stream_values import TrackletDecision, TrackletUpdate
from tessera.domain.errors import UnavailableError
from tessera.v1 import camera_pb2_grpc

log = get_logger()

_CHECK_EVERY_S = 1.0
_SCENES = "scenes"
_SCENE_LIMITS = Limits(max_bytes=512 << 20, max_age_s=90 * 86_400.0)
"""A scene takes up to 2 MB; one that is watched is kept anew every few minutes."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """The parts that live as long as the process."""

    fleet: Fleet
    keeper: LeaseKeeper
    peers: Peers
    matcher: Matcher
    announcer: Announcer
    registry: CameraRegistry
    executor: ThreadPoolExecutor
    looking: ThreadPoolExecutor
    readers: ReaderHost
    evidence: Evidence | None = None


def wire_parts(
    settings: IngestSettings,
    metrics: IngestMetrics,
    encoder: grpc.aio.Channel,
    gallery: grpc.aio.Channel,
    tracing: Tracing | None = None,
) -> Ingest:
    """Join the parts; nothing runs yet."""
    clock = SystemClock()
    executor = ThreadPoolExecutor(settings.jpeg_threads, "jpeg")
    looking = ThreadPoolExecutor(settings.looking_threads, "look")
    announcer = Announcer(EventPublisher(gallery).publish, metrics, Backoff(0.5, 10.0, 0.1))
    registry, table, shelf = open_store(settings.store_url, clock)
    quarantine = Quarantine(shelf, metrics)

    readers = ReaderHost()

    def feed_of(camera: Camera) -> Feed:
        order = ReadOrder(
            camera.camera_id,
            camera.url,
            camera.sample_rate_hz,
            camera.loop,
            settings.limits,
            camera.stream,
            settings.access,
        )
        return ReaderFeed(readers, order, clock)

    def make_worker(camera: Camera, lease: Lease) -> CameraWorker:
        return CameraWorker(camera, lease, parts)

    keeper = LeaseKeeper(
        table,
        name=settings.worker_id,
        capacity=settings.max_cameras,
        clock=clock,
        metrics=metrics,
        timing=settings.timing,
        process=own_mark(),
    )
    fleet = Fleet(
        registry=registry,
        keeper=keeper,
        make_worker=make_worker,
        quarantine=quarantine,
        metrics=metrics,
        clock=clock,
    )
    clocks = ClockWatch(fleet.watched_camera, announcer.announce, clock, metrics)

    def on_decision(update: TrackletUpdate, decision: TrackletDecision) -> None:
        fleet.decide(update, decision)
        clocks.take(update, decision)

    matcher = Matcher(
        channel=gallery,
        worker_id=settings.worker_id,
        clock=clock,
        metrics=metrics,
        on_decision=on_decision,
        on_superseded=keeper.superseded,
        backoff=Backoff(0.2, 2.0, 0.05),
    )
    encoding = EncodingParts(
        encoder, executor, clock, metrics, quarantine, Turns(metrics.encoder_window.set), tracing or Tracing()
    )
    evidence = open_evidence(settings, metrics, gallery, executor, clock)
    scenes = open_scenes(settings, clock)
    parts = WorkerParts(encoding, looking, matcher.submit, announcer, feed_of, settings.worker, evidence, scenes)
    return Ingest(fleet, keeper, Peers(), matcher, announcer, registry, executor, looking, readers, evidence)


def open_evidence(
    settings: IngestSettings, metrics: IngestMetrics, gallery: grpc.aio.Channel, executor: Executor, clock: Clock
) -> Evidence | None:
    """Where best shots and clips are kept, if anywhere.

    Raises:
        InvalidInputError: the keys that the settings name cannot be had.
    """
    if not settings.evidence_dir:
        return None
    limits = Limits(settings.evidence_max_bytes, settings.evidence_max_age_s)
    return Evidence(
        vault=Vault(Path(settings.evidence_dir), EvidenceKeys.load(settings.evidence_keys), limits, clock),
        executor=executor,
        check=SightingsCheck(gallery),
        clock=clock,
        metrics=metrics,
        settings=settings.evidence,
    )


def open_scenes(settings: IngestSettings, clock: Clock) -> Vault | None:
    """Where it is kept what scenes look like, if anywhere: a folder beside best shots and clips.

    Raises:
        InvalidInputError: the keys that the settings name cannot be had.
    """
    if not settings.evidence_dir:
        return None
    folder, keys = Path(settings.evidence_dir) / _SCENES, EvidenceKeys.load(settings.evidence_keys)
    scenes = Vault(folder, keys, _SCENE_LIMITS, clock)
    try:
        scenes.open()
    except OSError as error:
        log.warning("scenes.not_kept", error=str(error.strerror))
        return None
    return scenes


def open_store(url: str, clock: Clock) -> tuple[CameraRegistry, LeaseTable, QuarantineShelf]:
    """Where cameras, their leases and poison are kept, as a store URL names it."""
    if url == MEMORY:
        return MemoryCameraRegistry(), MemoryLeaseTable(clock), MemoryShelf()
    store = StoreConnection(url)
    return RedisCameraRegistry(store), RedisLeaseTable(store), RedisShelf(store)


async def serve(settings: IngestSettings) -> None:
    """Run until a stop signal, then count what is left and end in time.

    Raises:
        Exception: what a part failed with that must not fail; the rest was ended in order.
    """
    metrics = IngestMetrics(CollectorRegistry())
    async with (
        open_tracing("ingest") as tracing,
        open_channel(settings.encoder_address) as encoder,
        open_channel(settings.gallery_address) as gallery,
    ):
        ingest = wire_parts(settings, metrics, encoder, gallery, tracing)
        check = partial(check_access, settings.access)
        servicer = CameraServicer(ingest.fleet, ingest.peers, check, ingest.evidence)
        server = Server(
            settings.server,
            metrics,
            [SERVICE],
            lambda at: camera_pb2_grpc.add_CameraServiceServicer_to_server(servicer, at),
            tracing,
        )
        await server.start()
        ingest.keeper.listen_at(settings.address_at(server.port))
        log.info("started", port=server.port, metrics_port=server.metrics_port, **_shown(settings))
        tasks = [asyncio.create_task(work) for work in (ingest.matcher.run(), ingest.announcer.run())]
        readiness = asyncio.create_task(keep_ready(server, ingest))
        sharing = [asyncio.create_task(work) for work in (ingest.keeper.run(), ingest.fleet.run())]
        sharing.append(asyncio.create_task(JumpWatch(SystemClock(), metrics).run()))
        sharing += [asyncio.create_task(ingest.evidence.run())] if ingest.evidence is not None else []
        stopped = asyncio.create_task(wait_for_stop_signal())
        # The others run for ever: one that ends has failed, and a process without it would only look well.
        done, _ = await asyncio.wait((stopped, readiness, *sharing, *tasks), return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping", signal=stopped.result() if stopped in done else "none: a part failed")
        await end_tasks(stopped, readiness)
        await server.stop()
        await drain(ingest, tasks, settings.drain_s)
        await end_tasks(*sharing)
    for task in done:
        task.result()
    log.info("stopped")


async def keep_ready(server: Server, ingest: Ingest) -> None:
    """Load the cameras as soon as the store answers; from then on be ready while it does."""
    is_away = False
    while True:
        try:
            if not ingest.fleet.is_loaded:
                await ingest.fleet.load()
            await ingest.registry.check()
        except UnavailableError as error:
            if not is_away:
                log.warning("store.away", error=str(error))
            is_away = True
        else:
            is_away = False
        await server.set_ready(not is_away)
        await ingest.peers.keep_only(ingest.keeper.addresses)
        await asyncio.sleep(_CHECK_EVERY_S)


async def drain(ingest: Ingest, tasks: list[asyncio.Task[None]], limit_s: float) -> None:
    """Stop the cameras, then give the gallery so long to answer what is left."""
    await ingest.fleet.stop()
    ingest.matcher.drain()
    ingest.announcer.drain()
    await asyncio.wait(tasks, timeout=limit_s)
    await end_tasks(*tasks)
    if ingest.evidence is not None:
        await ingest.evidence.close()
    for executor in (ingest.executor, ingest.looking):
        executor.shutdown(wait=False, cancel_futures=True)
    await ingest.peers.close()
    ingest.readers.close()
    with contextlib.suppress(UnavailableError):
        await ingest.registry.close()


def check_access(access: AccessRules, camera: Camera) -> None:
    """Refuse a camera that may not be reached, as far as its URLs say.

    Raises:
        InvalidInputError: its scheme, address or folder is not allowed.
    """
    access.check_url(parse_url(camera.url))
    if camera.stream.sub_stream_url:
        access.check_url(parse_url(camera.stream.sub_stream_url), "stream.sub_stream_url")


def _shown(settings: IngestSettings) -> dict[str, str]:
    return {f"setting_{name}": value for name, value in redacted(settings).items()}


async def main() -> None:
    """Read the settings and serve."""
    configure_logs("camera_ingest")
    tune_for_pictures()
    settings = load_settings(IngestSettings, PREFIX)
    configure_logs("camera_ingest", level=settings.log_level)
    await serve(settings)


if __name__ == "__main__":
    sys.exit(run_service(main, "camera_ingest"))
