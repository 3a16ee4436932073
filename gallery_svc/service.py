"""The gallery whole: its parts joined by hand, started and stopped in order. `__main__` and the tests run it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import grpc
from prometheus_client import CollectorRegistry

from gallery_svc.auditing import AuditBatcher
from gallery_svc.collections import Collections
from gallery_svc.counted_door import CountedDoor
from gallery_svc.enrolment import Enroller
from gallery_svc.events import EventLog
from gallery_svc.exporting import Exporter
from gallery_svc.following import Follower
from gallery_svc.ids import time_ordered_id
from gallery_svc.importing import Importer
from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import Index
from gallery_svc.matching import Matcher
from gallery_svc.members import SignsOfLife
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import Encoder, ProbeReader
from gallery_svc.recording import Recorder
from gallery_svc.replica import Replica
from gallery_svc.rotating import Rotator
from gallery_svc.searching import Searcher
from gallery_svc.servicer import EventServicer, GalleryParts, GalleryServicer, LaterParts
from gallery_svc.settings import DurabilityWord, GallerySettings
from gallery_svc.sightings import Sightings
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import EPHEMERAL, Keyring
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.memory_side import Unstamped
from gallery_svc.store.protocol import Store
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.sealing import Sealer
from gallery_svc.subjects import Subjects
from gallery_svc.thresholds import Thresholds
from gallery_svc.tracklets import Tracklets
from gallery_svc.upkeep_wire import UpkeepCalls
from tessera.chassis.clock import Clock
from tessera.chassis.server import Server, ServerSettings
from tessera.chassis.settings import MEMORY
from tessera.chassis.tracing import Tracing
from tessera.domain.errors import InvalidInputError, KeyMissingError, StoreCorruptError
from tessera.domain.ids import ModelId
from tessera.v1 import events_pb2, events_pb2_grpc, gallery_pb2, gallery_pb2_grpc

SERVICES = (
    gallery_pb2.DESCRIPTOR.services_by_name["GalleryService"],
    events_pb2.DESCRIPTOR.services_by_name["EventService"],
)


@contextlib.asynccontextmanager
async def running_gallery(
    settings: GallerySettings,
    encoder: Encoder,
    thresholds: Thresholds,
    clock: Clock,
    tracing: Tracing | None = None,
    *,
    make_index: Callable[[ModelId], Index] = ExactIndex,
) -> AsyncIterator[RunningGallery]:
    """A gallery that listens, and that goes down in order at the end.

    Args:
        settings: where it listens and what it stands on.
        encoder: what pictures are sent to.
        thresholds: the error rates.
        clock: for deadlines and times.
        tracing: makes a span for each call; none by default.
        make_index: an empty index for a model.

    Raises:
        InvalidInputError: an address, the keys or the store cannot be used; what only the store's answers tell is
            raised when the gallery has begun to look at it.
    """
    metrics = GalleryMetrics(CollectorRegistry())
    member_id = time_ordered_id("gallery", clock.now())
    store = open_store(settings, metrics)
    threads = ThreadPoolExecutor(settings.search_threads, thread_name_prefix="search")
    closing = asyncio.Event()
    replica = Replica(store, make_index, metrics, clock, settings.max_position_wait_s)
    collections = Collections(store, replica, thresholds, clock, settings.shards)
    probes = ProbeReader(encoder, thresholds, metrics)
    searcher = Searcher(
        threads, clock=clock, metrics=metrics, max_batch=settings.max_batch, max_queries=settings.max_queries
    )
    batcher = AuditBatcher(store.append_audit, on_batch=metrics.audit_batch_size.observe)
    events = EventLog(store, clock, metrics, settings.heartbeat_s, settings.follow_interval_s)
    keyring = Keyring.load(settings.keys or EPHEMERAL)
    upkeep = UpkeepCalls(
        Exporter(store, keyring, clock),
        Importer(
            store=store,
            replica=replica,
            collections=collections,
            keyring=keyring,
            clock=clock,
            folder=Path(settings.import_dir) if settings.import_dir else None,
            max_bytes=settings.max_import_bytes,
        ),
        Rotator(store, clock),
    )
    tracklets = Tracklets(settings.max_tracklets, settings.tracklet_idle_s, clock, metrics)
    gallery = GalleryServicer(
        GalleryParts(
            collections=collections,
            subjects=Subjects(store, replica, clock, metrics),
            enroller=Enroller(
                store=store, replica=replica, collections=collections, probes=probes, clock=clock, metrics=metrics
            ),
            matcher=Matcher(
                replica=replica,
                store=store,
                probes=probes,
                thresholds=thresholds,
                searcher=searcher,
                recorder=Recorder(batcher, clock, metrics),
                clock=clock,
            ),
            sightings=Sightings(
                tracklets=tracklets,
                replica=replica,
                store=store,
                events=events,
                thresholds=thresholds,
                searcher=searcher,
                clock=clock,
                metrics=metrics,
                time_to_live_s=settings.event_time_to_live_s,
                search_limit_s=settings.max_deadline_s,
            ),
            thresholds=thresholds,
            metrics=metrics,
            clock=clock,
            max_deadline_s=settings.max_deadline_s,
            closing=closing,
            later=LaterParts(export=upkeep.export, import_=upkeep.import_file, rotate_keys=upkeep.rotate_keys),
        )
    )
    watching = EventServicer(events, replica)

    def add_servicers(server: grpc.aio.Server) -> None:
        gallery_pb2_grpc.add_GalleryServiceServicer_to_server(gallery, server)
        events_pb2_grpc.add_EventServiceServicer_to_server(watching, server)

    server = Server(_listening(settings), metrics, SERVICES, add_servicers, tracing)
    follower = Follower(
        store=store,
        replica=replica,
        collections=collections,
        signs=SignsOfLife(store, replica, clock, member_id),
        metrics=metrics,
        interval_s=settings.follow_interval_s,
        max_lag_s=settings.max_lag_s,
        set_ready=server.set_ready,
    )
    try:
        await server.start()
        following = asyncio.create_task(_follow(follower))
        try:
            yield RunningGallery(server, following, metrics, store)
        finally:
            follower.stop()
            closing.set()
            events.close()
            await server.stop()
            await following
    finally:
        await batcher.close()
        await replica.close()
        await store.close()
        threads.shutdown(wait=False)


class RunningGallery:
    """A gallery that listens.

    Args:
        server: knows its ports.
        following: ends only when the store may not be used.
        metrics: what it counts.
        store: what it stands on.
    """

    def __init__(self, server: Server, following: asyncio.Task[None], metrics: GalleryMetrics, store: Store) -> None:
        self.server = server
        self.following = following
        self.metrics = metrics
        self.store = store


def open_store(settings: GallerySettings, metrics: GalleryMetrics) -> Store:
    """The store that the settings name; nothing is connected before the first call.

    Raises:
        InvalidInputError: the address or the keys cannot be used.
    """
    if settings.store == MEMORY:
        return MemoryStore(None, settings.log_kept, settings.events_kept)
    fsync: Literal["always", "everysec"] = "always" if settings.durability is DurabilityWord.ALWAYS else "everysec"
    durability = Durability(fsync, settings.replicas_to_wait, settings.replica_timeout_s)
    door = open_door(
        settings.store,
        durability,
        timeout_s=settings.store_timeout_s,
        observe=lambda operation, seconds: metrics.store_seconds.labels(operation).observe(seconds),
    )
    sealer = Sealer(Keyring.load(settings.keys))
    stamps = Unstamped()
    return RedisStore(
        CountedDoor(door, metrics), sealer, stamps, log_kept=settings.log_kept, events_kept=settings.events_kept
    )


async def _follow(follower: Follower) -> None:
    """Follow; a store that this gallery may not go on with is a wrong setting, told in one line, and no defect."""
    try:
        await follower.run()
    except StoreCorruptError as error:
        raise InvalidInputError("store", error.key, f"whole writes; {error}") from error
    except KeyMissingError as error:
        raise InvalidInputError("keys", error.key, f"each key that the store's values are under; {error}") from error


def _listening(settings: GallerySettings) -> ServerSettings:
    return ServerSettings(
        host=settings.host,
        port=settings.port,
        metrics_port=settings.metrics_port,
        max_deadline_s=settings.max_deadline_s,
        drain_s=settings.drain_s,
    )
