"""`GalleryShardService`: other galleries ask this one for the shards that it holds. It decides and records nothing."""

from __future__ import annotations

from typing import Any

import grpc

from gallery_svc import shard_wire
from gallery_svc.holding import Holding
from gallery_svc.own_part import OwnPart
from gallery_svc.probes import Deadline
from gallery_svc.store.protocol import shard_of
from gallery_svc.wire import collection_id_from
from tessera.chassis.clock import Clock
from tessera.chassis.interceptors import RpcInterceptor
from tessera.chassis.limits import KEEPALIVE_MS, MAX_MESSAGE_BYTES
from tessera.chassis.metrics import ServiceMetrics
from tessera.chassis.tracing import Tracing
from tessera.domain.errors import InvalidInputError, UnavailableError
from tessera.domain.ids import ModelId
from tessera.v1 import shard_pb2, shard_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class ShardServicer(shard_pb2_grpc.GalleryShardServiceServicer):
    """Searches for other galleries.

    Args:
        own: what is held here.
        holding: which shards that are.
        clock: for deadlines.
        max_deadline_s: of a call.
    """

    def __init__(self, own: OwnPart, holding: Holding, clock: Clock, max_deadline_s: float) -> None:
        self._own = own
        self._holding = holding
        self._clock = clock
        self._max_deadline_s = max_deadline_s

    async def GetHolding(self, request: shard_pb2.GetHoldingRequest, context: Context) -> shard_pb2.GetHoldingResponse:
        """Which shards are held here."""
        return shard_pb2.GetHoldingResponse(holds=str(self._holding))

    async def SearchShards(
        self, request: shard_pb2.SearchShardsRequest, context: Context
    ) -> shard_pb2.SearchShardsResponse:
        """The most alike subjects of some shards."""
        asked, deadline = shard_wire.asked_from_wire(request), self._deadline(context)
        live = await self._own.live_for(
            collection_id_from(request.collection_id),
            request.generation,
            ModelId(request.model_id),
            asked.min_positions,
            deadline,
        )
        found = await self._own.search(live, frozenset(request.shards), asked, deadline.at_s)
        return shard_wire.found_to_wire(found)

    async def BestOf(self, request: shard_pb2.BestOfRequest, context: Context) -> shard_pb2.BestOfResponse:
        """One subject's most alike template."""
        claim, probe = shard_wire.claim_from_wire(request)
        live = await self._own.live_for(
            collection_id_from(request.collection_id),
            request.generation,
            probe.model_id,
            claim.min_positions,
            self._deadline(context),
        )
        shard = shard_of(claim.subject_id, len(live.positions))
        if shard not in live.held:
            raise UnavailableError("gallery", f"shard {shard} is not held here")
        return shard_wire.best_to_wire(await self._own.best_of_newest(live, claim, probe))

    def _deadline(self, context: Context) -> Deadline:
        remaining_s = context.time_remaining()
        limit_s = self._max_deadline_s
        return Deadline(self._clock, limit_s if remaining_s is None else min(remaining_s, limit_s))


class ShardServer:
    """Listens for other galleries, on a port of its own.

    Args:
        host: address to listen on.
        port: 0 lets the system choose.
        servicer: answers.
        metrics: where calls are counted.
        max_deadline_s: of a call.
        tracing: makes a span for each call.
    """

    def __init__(
        self,
        host: str,
        port: int,
        servicer: ShardServicer,
        *,
        metrics: ServiceMetrics,
        max_deadline_s: float,
        tracing: Tracing,
    ) -> None:
        self._address = f"{host}:{port}"
        self._servicer = servicer
        self._intercepting = RpcInterceptor(metrics, max_deadline_s, tracing)
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            InvalidInputError: the address cannot be used.
        """
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
            ("grpc.http2.max_ping_strikes", 0),
            # Without it a second server on the same port would silently take half of the calls.
            ("grpc.so_reuseport", 0),
        ]
        server = grpc.aio.server(interceptors=[self._intercepting], options=options)
        shard_pb2_grpc.add_GalleryShardServiceServicer_to_server(self._servicer, server)
        try:
            self.port = server.add_insecure_port(self._address)
        except RuntimeError:
            allowed = "an address of this machine and a port that is free"
            raise InvalidInputError("shard_port", self._address, allowed) from None
        await server.start()
        self._server = server

    async def stop(self, drain_s: float) -> None:
        """Let calls under way finish, and close; nothing when it does not listen."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(drain_s)
