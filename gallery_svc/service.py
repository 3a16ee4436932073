"""The gallery whole: its parts joined by hand, started and stopped in order. `__main__` and the tests run it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import grpc

from gallery_svc.alert_desk import AlertDesk
from gallery_svc.alerting import Alerting
from gallery_svc.answering import parts_on, person_servicer_on
from gallery_svc.checkpointed_log import TrailPlace
from gallery_svc.checkpointing import Checkpointer
from gallery_svc.erasing import ErasureFinisher
from gallery_svc.event_servicer import EventServicer
from gallery_svc.explaining import ExplainingEncoder
from gallery_svc.following import Follower
from gallery_svc.ground import Ground
from gallery_svc.index.protocol import Index
from gallery_svc.members import SignsOfLife
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.persons.forgetting import PersonForgetting
from gallery_svc.retention import Retention
from gallery_svc.rule_book import RuleBook
from gallery_svc.rule_servicer import RuleServicer
from gallery_svc.servicer import GalleryServicer
from gallery_svc.settings import GallerySettings, Migrating
from gallery_svc.shard_servicer import ShardServer, ShardServicer
from gallery_svc.signing import Signer
from gallery_svc.store.protocol import Store
from gallery_svc.store.redis import RedisStore
from gallery_svc.store_watch import StoreWatch
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.chassis.server import Server, ServerSettings
from tessera.chassis.tracing import Tracing
from tessera.domain.errors import InvalidInputError, KeyMissingError, StoreCorruptError
from tessera.domain.ids import ModelId
from tessera.v1 import (
    events_pb2,
    events_pb2_grpc,
    gallery_pb2,
    gallery_pb2_grpc,
    persons_pb2,
    persons_pb2_grpc,
    rules_pb2,
    rules_pb2_grpc,
)

SERVICES = (
    gallery_pb2.DESCRIPTOR.services_by_name["GalleryService"],
    events_pb2.DESCRIPTOR.services_by_name["EventService"],
    rules_pb2.DESCRIPTOR.services_by_name["RuleService"],
    persons_pb2.DESCRIPTOR.services_by_name["PersonService"],
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
    ground = Ground(settings, encoder, thresholds, clock, make_index)
    gallery, rules = (
        GalleryServicer(parts_on(ground), tracing),
        RuleServicer(RuleBook(ground.store, clock), ground.replica),
    )
    desk = AlertDesk(ground.store, ground.events, clock, ground.metrics)
    watching = EventServicer(ground.events, desk, ground.replica, ground.fences)
    persons = person_servicer_on(ground)

    def add_servicers(server: grpc.aio.Server) -> None:
        gallery_pb2_grpc.add_GalleryServiceServicer_to_server(gallery, server)
        events_pb2_grpc.add_EventServiceServicer_to_server(watching, server)
        rules_pb2_grpc.add_RuleServiceServicer_to_server(rules, server)
        persons_pb2_grpc.add_PersonServiceServicer_to_server(persons, server)

    server = Server(_listening(settings), ground.metrics, SERVICES, add_servicers, tracing)
    follower, finisher, checkpointer = _follower(ground, server), _finisher(ground), _checkpointer(ground)
    retention, alerting, forgetting = _retention(ground), _alerting(ground), _forgetting(ground)
    shard_server, watch = _shard_server(ground, tracing), _store_watch(ground)
    try:
        await server.start()
        if ground.holding.total:
            await shard_server.start()
        following = asyncio.create_task(_follow(follower))
        upkeep = (finisher, checkpointer, retention, forgetting, alerting, watch)
        beside = asyncio.gather(*(part.run() for part in upkeep), _leases(ground))
        try:
            yield RunningGallery(server, following, ground.metrics, ground.store, ground.signer)
        finally:
            follower.stop()
            finisher.stop()
            retention.stop()
            forgetting.stop()
            alerting.stop()
            watch.stop()
            await _stop_answering(ground, server, shard_server)
            checkpointer.stop()  # after the last decision
            if ground.engine is not None:
                ground.engine.stop()
            await beside
            await following
    finally:
        await _stop_answering(ground, server, shard_server)  # also of a start that ended half-way
        await ground.close()


async def _stop_answering(ground: Ground, server: Server, shard_server: ShardServer) -> None:
    ground.closing.set()
    ground.events.close()
    await asyncio.gather(server.stop(), shard_server.stop(ground.settings.drain_s))


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


def _shard_server(ground: Ground, tracing: Tracing | None) -> ShardServer:
    settings = ground.settings
    return ShardServer(
        settings.shard_host,
        settings.shard_port,
        ShardServicer(ground.own, ground.holding, ground.clock, settings.max_deadline_s),
        metrics=ground.metrics,
        max_deadline_s=settings.max_deadline_s,
        tracing=tracing or Tracing(),
    )


def _follower(ground: Ground, server: Server) -> Follower:
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


def _preparation(ground: Ground) -> Callable[[], Awaitable[None]]:
    store = ground.store
    if isinstance(store, RedisStore):
        return partial(store.prepare, migrate=ground.settings.migrate is Migrating.AUTO)
    return store.prepare


def _finisher(ground: Ground) -> ErasureFinisher:
    return ErasureFinisher(
        store=ground.store,
        bodies=ground.person_eraser,
        clock=ground.clock,
        metrics=ground.metrics,
        member_id=ground.member_id,
        interval_s=ground.settings.erasure_interval_s,
        rewrite=ground.settings.rewrite_after_erasure,
    )


def _retention(ground: Ground) -> Retention:
    return Retention(
        store=ground.store,
        eraser=ground.eraser,
        clock=ground.clock,
        member_id=ground.member_id,
        interval_s=ground.settings.retention_interval_s,
    )


def _forgetting(ground: Ground) -> PersonForgetting:
    settings = ground.settings
    return PersonForgetting(
        store=ground.store,
        keeper=ground.keeper,
        eraser=ground.person_eraser,
        clock=ground.clock,
        metrics=ground.metrics,
        member_id=ground.member_id,
        interval_s=settings.person_sweep_interval_s,
        rewrite_every_s=settings.person_rewrite_interval_s if settings.rewrite_after_erasure else None,
    )


def _alerting(ground: Ground) -> Alerting:
    return Alerting(
        store=ground.store,
        events=ground.events,
        clock=ground.clock,
        metrics=ground.metrics,
        member_id=ground.member_id,
        lease_s=ground.settings.alert_lease_s,
    )


def _store_watch(ground: Ground) -> StoreWatch:
    store = ground.store
    return StoreWatch(store.nodes if isinstance(store, RedisStore) else None, ground.metrics)


def _checkpointer(ground: Ground) -> Checkpointer:
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


async def _leases(ground: Ground) -> None:
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
