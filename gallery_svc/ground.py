"""What the parts of a gallery stand on: store, index, keys, encoder, threads; made of the settings, then let go of.

Nothing here listens: `answering` puts the parts that answer on it, `service` starts and stops the whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

from prometheus_client import CollectorRegistry

from gallery_svc.auditing import AuditBatcher, AuditStamper
from gallery_svc.biometrics import Biometrics
from gallery_svc.calibrations import Calibrations
from gallery_svc.camera_groups import CameraGroups
from gallery_svc.claiming import Claims
from gallery_svc.collections import Collections
from gallery_svc.counted_door import CountedDoor
from gallery_svc.engine_indexes import EngineIndexes
from gallery_svc.erasing import Eraser
from gallery_svc.events import EventLog
from gallery_svc.explaining import ExplainingEncoder
from gallery_svc.fencing import Fences
from gallery_svc.holding import Holding
from gallery_svc.ids import time_ordered_id
from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.milvus_engine import EngineAddress, EngineIndex, MilvusEngine, pymilvus
from gallery_svc.index.protocol import Index
from gallery_svc.keeping_apart import KeepingApart
from gallery_svc.labelled import OwnSamples
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.own_part import OwnPart
from gallery_svc.peers import GalleryPeer
from gallery_svc.persons.erasing import PersonEraser
from gallery_svc.persons.keeping import LookKeeper
from gallery_svc.probes import ProbeReader
from gallery_svc.replica import Replica
from gallery_svc.scatter import Scatter
from gallery_svc.searching import Searcher
from gallery_svc.settings import DurabilityWord, GallerySettings, SearchEngine
from gallery_svc.signing import Signer
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import EPHEMERAL, Keyring
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.protocol import Store
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.sealing import Sealer
from gallery_svc.thresholds import Thresholds
from gallery_svc.tracklets import Tracklets
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.settings import MEMORY
from tessera.domain.ids import ModelId


class Ground:
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
        self.biometrics = Biometrics(self.metrics, self.thresholds, CameraGroups.parse(settings.camera_groups), clock)
        self.probes = ProbeReader(encoder, self.thresholds, self.metrics, self.biometrics)
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
        self.fences = Fences()
        self.events = EventLog(self.store, clock, self.metrics, settings.heartbeat_s, settings.follow_interval_s)
        self.apart = KeepingApart(self.store, clock)
        self.tracklets = Tracklets(settings.max_tracklets, settings.tracklet_idle_s, clock, self.metrics)
        self.keeper = LookKeeper(self.store, clock, self.metrics)
        self.person_eraser = PersonEraser(self.store, self.keeper)
        self.eraser = Eraser(
            store=self.store,
            replica=self.replica,
            apart=self.apart,
            bodies=self.person_eraser,
            signer=self.signer,
            clock=clock,
            metrics=self.metrics,
        )
        self.calibrations = Calibrations(
            self.store, self.thresholds, OwnSamples(self.store), clock, self.biometrics.show_calibrations
        )
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
        return MemoryStore(stamps, settings.log_kept, settings.events_kept, alerts_kept=settings.alerts_kept)
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
        alerts_kept=settings.alerts_kept,
        load_processes=settings.load_processes if settings.load_processes >= 0 else None,
    )
