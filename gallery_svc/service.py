"""The gallery whole: its parts joined by hand, started and stopped in order. `__main__` and the tests run it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import grpc
from prometheus_client import CollectorRegistry

from gallery_svc.audit_query import AuditQuery
from gallery_svc.auditing import AuditBatcher, AuditStamper
from gallery_svc.calibrations import Calibrations
from gallery_svc.checkpointed_log import TrailPlace
from gallery_svc.checkpointing import Checkpointer
from gallery_svc.claiming import Claims
from gallery_svc.collections import Collections
from gallery_svc.correcting import Corrector
from gallery_svc.counted_door import CountedDoor
from gallery_svc.engine_indexes import EngineIndexes
from gallery_svc.enrolment import Enroller
from gallery_svc.erasing import Eraser, ErasureFinisher
from gallery_svc.events import EventLog
from gallery_svc.explaining import ExplainingEncoder, MatchExplainer
from gallery_svc.exporting import Exporter
from gallery_svc.following import Follower
from gallery_svc.holding import Holding
from gallery_svc.ids import time_ordered_id
from gallery_svc.importing import Importer
from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.milvus_engine import EngineAddress, EngineIndex, MilvusEngine, pymilvus
from gallery_svc.index.protocol import Index
from gallery_svc.integrity import IntegrityChecks
from gallery_svc.joint_thresholds import JointThresholds
from gallery_svc.joint_verifying import JointVerifier
from gallery_svc.keeping_apart import KeepingApart
from gallery_svc.labelled import OwnSamples
from gallery_svc.matching import Matcher
from gallery_svc.members import SignsOfLife
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.own_part import OwnPart
from gallery_svc.peers import GalleryPeer
from gallery_svc.probes import ProbeReader
from gallery_svc.recording import Recorder
from gallery_svc.reembedding import Reembedder
from gallery_svc.reembedding_wire import ReembedMethod
from gallery_svc.replica import Replica
from gallery_svc.retention import Retention
from gallery_svc.rotating import Rotator
from gallery_svc.scatter import Scatter
from gallery_svc.searching import Searcher
from gallery_svc.servicer import EventServicer, GalleryParts, GalleryServicer, LaterParts
from gallery_svc.settings import DurabilityWord, GallerySettings, Migrating, SearchEngine
from gallery_svc.shard_servicer import ShardServer, ShardServicer
from gallery_svc.sightings import Sightings
from gallery_svc.signing import Signer
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import EPHEMERAL, Keyring
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.protocol import Store
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.sealing import Sealer
from gallery_svc.subjects import Subjects
from gallery_svc.thresholds import Thresholds
from gallery_svc.tracklets import Tracklets
from gallery_svc.upkeep_wire import UpkeepCalls
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
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

EXPLAIN_METHOD = "tessera.v1.GalleryService/ExplainMatch"


@contextlib.asynccontextmanager
async def running_gallery(
    settings: GallerySettings,
    encoder: ExplainingEncoder,
    thresholds: Thresholds,
    clock: Clock,
    tracing: Tracing | None = None,
    *,
    make_index: Callable[[ModelId], Index] | None = None,
) -> AsyncIterator[RunningGallery]:
    """A gallery that listens, and that goes down in order at the end.

    Args:
        settings: where it listens and what it stands on.
        encoder: what pictures are sent to.
        thresholds: the error rates.
        clock: for deadlines and times.
        tracing: makes a span for each call; none by default.
        make_index: an empty index for a model; an exact one by default.

    Raises:
        InvalidInputError: an address, the keys or the store cannot be used; what only the store's answers tell is
            raised when the gallery has begun to look at it.
    """
    ground = _Ground(settings, encoder, thresholds, clock, make_index)
    gallery, watching = GalleryServicer(_parts(ground)), EventServicer(ground.events, ground.replica)

    def add_servicers(server: grpc.aio.Server) -> None:
        gallery_pb2_grpc.add_GalleryServiceServicer_to_server(gallery, server)
        events_pb2_grpc.add_EventServiceServicer_to_server(watching, server)

    server = Server(_listening(settings), ground.metrics, SERVICES, add_servicers, tracing)
    follower, finisher, checkpointer = _follower(ground, server), _finisher(ground), _checkpointer(ground)
    retention = _retention(ground)
    shard_server = _shard_server(ground, tracing)
    try:
        await server.start()
        if ground.holding.total:
            await shard_server.start()
        following = asyncio.create_task(_follow(follower))
        beside = asyncio.gather(finisher.run(), checkpointer.run(), retention.run(), _leases(ground))
        try:
            yield RunningGallery(server, following, ground.metrics, ground.store, ground.signer)
        finally:
            follower.stop()
            finisher.stop()
            retention.stop()
            ground.closing.set()
            ground.events.close()
            await asyncio.gather(server.stop(), shard_server.stop(settings.drain_s))
            checkpointer.stop()  # after the last decision
            if ground.engine is not None:
                ground.engine.stop()
            await beside
            await following
    finally:
        await ground.close()


class _Ground:
    """What the parts of a gallery stand on.

    Args:
        settings: where it listens and what it stands on.
        encoder: what pictures are sent to.
        thresholds: the error rates.
        clock: for deadlines and times.
        make_index: an empty index for a model; an exact one by default.
    """

    def __init__(
        self,
        settings: GallerySettings,
        encoder: ExplainingEncoder,
        thresholds: Thresholds,
        clock: Clock,
        make_index: Callable[[ModelId], Index] | None,
    ) -> None:
        self.settings = settings
        # A scan runs on one thread of `threads` and on as many of these as are free: `search_threads` together.
        self.helpers = [
            ThreadPoolExecutor(1, thread_name_prefix="search-helper") for _ in range(settings.search_threads - 1)
        ]
        self.make_index = make_index or partial(ExactIndex, helpers=self.helpers)
        self.thresholds = thresholds.of_one_gallery()
        self.clock = clock
        self.metrics = GalleryMetrics(CollectorRegistry())
        self.member_id = time_ordered_id("gallery", clock.now())
        self.keyring = Keyring.load(settings.keys or EPHEMERAL)
        self.signer = open_signer(settings)
        self.store = open_store(settings, self.keyring, self.member_id, self.metrics)
        self.holding = Holding.parse(settings.holds)
        self.engine = open_engine(settings, self.store, self.member_id, clock)
        self.replica = Replica(
            self.store,
            self.make_index,
            self.metrics,
            clock,
            settings.max_position_wait_s,
            holding=self.holding,
            engine=self.engine,
        )
        self.collections = Collections(self.store, self.replica, self.thresholds, clock, settings.shards)
        self.encoder = encoder
        self.probes = ProbeReader(encoder, self.thresholds, self.metrics)
        self.threads = ThreadPoolExecutor(settings.search_threads, thread_name_prefix="search")
        self.searcher = Searcher(
            self.threads,
            clock=clock,
            metrics=self.metrics,
            max_batch=settings.max_batch,
            max_queries=settings.max_queries,
        )
        self.own = OwnPart(self.replica, self.searcher)
        self.peers = [GalleryPeer(address, clock) for address in settings.peer_addresses]
        self.scatter = Scatter(self.own, self.peers, clock)
        self.claims = Claims(self.replica, self.store, self.scatter, clock)
        self.batcher = AuditBatcher(self.store.append_audit, on_batch=self.metrics.audit_batch_size.observe)
        self.events = EventLog(self.store, clock, self.metrics, settings.heartbeat_s, settings.follow_interval_s)
        self.apart = KeepingApart(self.store, clock)
        self.eraser = Eraser(
            store=self.store,
            replica=self.replica,
            apart=self.apart,
            signer=self.signer,
            clock=clock,
            metrics=self.metrics,
        )
        self.calibrations = Calibrations(self.store, self.thresholds, OwnSamples(self.store), clock)
        self.closing = asyncio.Event()

    async def close(self) -> None:
        """Let go of everything."""
        await self.batcher.close()
        await asyncio.gather(*(peer.close() for peer in self.peers))
        await self.replica.close()
        if self.engine is not None:
            await self.engine.close()
        await self.store.close()
        for threads in (self.threads, *self.helpers):
            threads.shutdown(wait=False)


def _parts(ground: _Ground) -> GalleryParts:
    store, replica, clock, metrics = ground.store, ground.replica, ground.clock, ground.metrics
    upkeep, subjects = _upkeep(ground), _subjects(ground)
    recorder = Recorder(ground.batcher, clock, metrics)
    checks = IntegrityChecks(store, ground.scatter, ground.thresholds)
    enroller = _enroller(ground, checks)
    return GalleryParts(
        collections=ground.collections,
        subjects=subjects,
        enroller=enroller,
        corrector=Corrector(
            store=store,
            replica=replica,
            probes=ground.probes,
            subjects=subjects,
            enroller=enroller,
            checks=checks,
            thresholds=ground.thresholds,
            clock=clock,
        ),
        calibrations=ground.calibrations,
        eraser=ground.eraser,
        audit=AuditQuery(store),
        matcher=Matcher(
            replica=replica,
            claims=ground.claims,
            probes=ground.probes,
            thresholds=ground.thresholds,
            scatter=ground.scatter,
            recorder=recorder,
            clock=clock,
        ),
        joint=JointVerifier(
            replica=replica,
            claims=ground.claims,
            probes=ground.probes,
            thresholds=JointThresholds(ground.thresholds),
            recorder=recorder,
        ),
        explainer=MatchExplainer(store, ground.encoder, ground.probes, recorder, clock),
        sightings=_sightings(ground),
        metrics=metrics,
        clock=clock,
        max_deadline_s=ground.settings.max_deadline_s,
        explain_deadline_s=ground.settings.explain_deadline_s,
        closing=ground.closing,
        later=LaterParts(
            export=upkeep.export,
            import_=upkeep.import_file,
            rotate_keys=upkeep.rotate_keys,
            reembed=ReembedMethod(_reembedder(ground), clock),
        ),
    )


def _enroller(ground: _Ground, checks: IntegrityChecks) -> Enroller:
    return Enroller(
        store=ground.store,
        replica=ground.replica,
        collections=ground.collections,
        probes=ground.probes,
        checks=checks,
        apart=ground.apart,
        clock=ground.clock,
        metrics=ground.metrics,
    )


def _subjects(ground: _Ground) -> Subjects:
    return Subjects(
        store=ground.store,
        replica=ground.replica,
        apart=ground.apart,
        clock=ground.clock,
        metrics=ground.metrics,
    )


def _sightings(ground: _Ground) -> Sightings:
    settings = ground.settings
    return Sightings(
        tracklets=Tracklets(settings.max_tracklets, settings.tracklet_idle_s, ground.clock, ground.metrics),
        replica=ground.replica,
        store=ground.store,
        events=ground.events,
        thresholds=ground.thresholds,
        scatter=ground.scatter,
        clock=ground.clock,
        metrics=ground.metrics,
        time_to_live_s=settings.event_time_to_live_s,
        search_limit_s=settings.max_deadline_s,
    )


def _reembedder(ground: _Ground) -> Reembedder:
    return Reembedder(
        store=ground.store,
        replica=ground.replica,
        probes=ground.probes,
        thresholds=ground.thresholds,
        make_index=ground.make_index,
        clock=ground.clock,
        closing=ground.closing,
    )


def _upkeep(ground: _Ground) -> UpkeepCalls:
    settings = ground.settings
    importer = Importer(
        store=ground.store,
        replica=ground.replica,
        collections=ground.collections,
        keyring=ground.keyring,
        clock=ground.clock,
        folder=Path(settings.import_dir) if settings.import_dir else None,
        max_bytes=settings.max_import_bytes,
    )
    return UpkeepCalls(
        Exporter(ground.store, ground.keyring, ground.clock), importer, Rotator(ground.store, ground.clock)
    )


def _shard_server(ground: _Ground, tracing: Tracing | None) -> ShardServer:
    settings = ground.settings
    return ShardServer(
        settings.shard_host,
        settings.shard_port,
        ShardServicer(ground.own, ground.holding, ground.clock, settings.max_deadline_s),
        metrics=ground.metrics,
        max_deadline_s=settings.max_deadline_s,
        tracing=tracing or Tracing(),
    )


def _follower(ground: _Ground, server: Server) -> Follower:
    return Follower(
        prepare=_preparation(ground),
        replica=ground.replica,
        collections=ground.collections,
        calibrations=ground.calibrations,
        signs=SignsOfLife(ground.store, ground.replica, ground.clock, ground.member_id),
        metrics=ground.metrics,
        interval_s=ground.settings.follow_interval_s,
        max_lag_s=ground.settings.max_lag_s,
        set_ready=server.set_ready,
    )


def _preparation(ground: _Ground) -> Callable[[], Awaitable[None]]:
    store = ground.store
    if isinstance(store, RedisStore):
        return partial(store.prepare, migrate=ground.settings.migrate is Migrating.AUTO)
    return store.prepare


def _finisher(ground: _Ground) -> ErasureFinisher:
    return ErasureFinisher(
        store=ground.store,
        clock=ground.clock,
        metrics=ground.metrics,
        member_id=ground.member_id,
        interval_s=ground.settings.erasure_interval_s,
        rewrite=ground.settings.rewrite_after_erasure,
    )


def _retention(ground: _Ground) -> Retention:
    return Retention(
        store=ground.store,
        eraser=ground.eraser,
        clock=ground.clock,
        member_id=ground.member_id,
        interval_s=ground.settings.retention_interval_s,
    )


def _checkpointer(ground: _Ground) -> Checkpointer:
    settings, keyring = ground.settings, ground.keyring
    place = TrailPlace(
        folder=Path(settings.audit_dir).expanduser(),
        second=Path(settings.audit_second_dir).expanduser() if settings.audit_second_dir else None,
        signer=ground.signer,
        old_keys=ground.signer.old_keys,
        mac_keys=[keyring.derived("audit", key_id) for key_id in keyring.key_ids],
    )
    return Checkpointer(
        store=ground.store,
        place=place if settings.audit_dir else None,
        receipts=ground.eraser.receipt,
        clock=ground.clock,
        metrics=ground.metrics,
        member_id=ground.member_id,
        interval_s=settings.checkpoint_interval_s,
        kept=settings.audit_kept,
    )


class RunningGallery:
    """A gallery that listens.

    Args:
        server: knows its ports.
        following: ends only when the store may not be used.
        metrics: what it counts.
        store: what it stands on.
        signer: signs its receipts.
    """

    def __init__(
        self, server: Server, following: asyncio.Task[None], metrics: GalleryMetrics, store: Store, signer: Signer
    ) -> None:
        self.server = server
        self.following = following
        self.metrics = metrics
        self.store = store
        self.signer = signer


def open_signer(settings: GallerySettings) -> Signer:
    """What receipts are signed with; without a setting a key that ends with this process.

    Raises:
        InvalidInputError: the key cannot be used.
    """
    if settings.signing_key:
        return Signer.load(settings.signing_key)
    get_logger().warning("signing_key.ephemeral", why="signing_key is not set: nobody can check receipts later")
    return Signer.ephemeral()


def open_engine(settings: GallerySettings, store: Store, holder: str, clock: Clock) -> EngineIndexes | None:
    """The search engine that the settings name; None: vectors stay in this process. Nothing is connected yet.

    Raises:
        InvalidInputError: what speaks to it is not installed.
    """
    if settings.index is not SearchEngine.MILVUS:
        return None
    pymilvus()
    # It logs what calls fail with, in words of the engine's that nobody has looked through for names and vectors.
    for name in ("pymilvus", "pymilvus.milvus_client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    get_logger().warning(
        "milvus.in_clear", why="the engine keeps vectors unencrypted, also erased ones: receipts stay ACCEPTED"
    )
    engine = MilvusEngine(EngineAddress(settings.milvus_uri, settings.milvus_token))
    return EngineIndexes(engine, EngineIndex(settings.milvus_index.value), store, holder, clock)


def open_store(settings: GallerySettings, keyring: Keyring, member_id: str, metrics: GalleryMetrics) -> Store:
    """The store that the settings name; nothing is connected before the first call.

    Args:
        settings: name it.
        keyring: what it seals with, and what its audit entries are stamped under.
        member_id: names this process in the audit logs.
        metrics: where it counts.

    Raises:
        InvalidInputError: the address cannot be used.
    """
    stamps = AuditStamper(keyring.derived("audit"), member_id)
    if settings.store == MEMORY:
        return MemoryStore(stamps, settings.log_kept, settings.events_kept)
    fsync: Literal["always", "everysec"] = "always" if settings.durability is DurabilityWord.ALWAYS else "everysec"
    door = open_door(
        settings.store,
        Durability(fsync, settings.replicas_to_wait, settings.replica_timeout_s),
        timeout_s=settings.store_timeout_s,
        observe=lambda operation, seconds: metrics.store_seconds_of.of(operation).observe(seconds),
    )
    return RedisStore(
        CountedDoor(door, metrics),
        Sealer(keyring),
        stamps,
        log_kept=settings.log_kept,
        events_kept=settings.events_kept,
        load_processes=settings.load_processes if settings.load_processes >= 0 else None,
    )


async def _leases(ground: _Ground) -> None:
    if ground.engine is not None:
        await ground.engine.run()


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
        longer_s={EXPLAIN_METHOD: settings.explain_deadline_s},
        drain_s=settings.drain_s,
    )
