"""The other galleries of a spread collection, over gRPC. One that fails is passed over, and asked last for a while.

Nothing is tried twice here: who asks has other peers, and a deadline.
"""

from __future__ import annotations

import grpc

from gallery_svc import shard_wire
from gallery_svc.holding import Holding
from gallery_svc.live import LiveCollection
from gallery_svc.own_part import Asked, Claim, PartBest, PartFound
from gallery_svc.store.protocol import shard_of
from tessera.chassis.channel import CHANNEL_OPTIONS
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.status import StatusDetail, detail_of
from tessera.domain.embedding import Embedding
from tessera.domain.errors import (
    InvalidInputError,
    ModelMismatchError,
    PositionNotReachedError,
    TesseraError,
    UnavailableError,
)
from tessera.v1 import shard_pb2, shard_pb2_grpc

_DOUBTFUL_S = 2.0
_AT_ONCE = {"grpc.enable_retries", "grpc.service_config"}
_OPTIONS = [*((name, value) for name, value in CHANNEL_OPTIONS if name not in _AT_ONCE), ("grpc.enable_retries", 0)]


class GalleryPeer:
    """One other gallery.

    Args:
        address: `host:port` of its shard service.
        clock: for how long it is doubtful.
    """

    def __init__(self, address: str, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub = shard_pb2_grpc.GalleryShardServiceStub(self._channel)
        self._doubtful_until_s: float | None = None
        self.holding: Holding | None = None

    @property
    def is_doubtful(self) -> bool:
        """It failed a moment ago: others are asked first."""
        return self._doubtful_until_s is not None and self._clock.monotonic_s() < self._doubtful_until_s

    async def learn(self, limit_s: float) -> None:
        """Ask what it holds; one that does not say is left as it is."""
        try:
            answer = await self._stub.GetHolding(shard_pb2.GetHoldingRequest(), timeout=limit_s)
            self.holding = Holding.parse(answer.holds)
        except (grpc.aio.AioRpcError, InvalidInputError) as error:
            self._doubt(detail_of(error).reason if isinstance(error, grpc.aio.AioRpcError) else str(error))
        else:
            self._trust()

    async def search(self, live: LiveCollection, shards: frozenset[int], asked: Asked, limit_s: float) -> PartFound:
        """The subjects of these shards that are most like each probe; see `OwnPart.search`.

        Raises:
            ModelMismatchError: it searches with another model.
            PositionNotReachedError: it is behind.
            UnavailableError: it does not answer, or cannot.
        """
        try:
            answer = await self._stub.SearchShards(shard_wire.search_to_wire(live, shards, asked), timeout=limit_s)
            found = shard_wire.found_from_wire(answer, len(asked.probes))
        except (grpc.aio.AioRpcError, InvalidInputError) as error:
            raise self._failed(error) from error
        self._trust()
        if not shards <= set(found.shards):
            self.holding = None  # it was started anew with other shards
        return found

    async def best_of(self, live: LiveCollection, claim: Claim, probe: Embedding, limit_s: float) -> PartBest:
        """The subject's template that is most like the probe; see `OwnPart.best_of`.

        Raises:
            ModelMismatchError: it searches with another model.
            PositionNotReachedError: it is behind.
            UnavailableError: it does not answer, or cannot.
        """
        shard = shard_of(claim.subject_id, len(live.positions))
        try:
            answer = await self._stub.BestOf(shard_wire.claim_to_wire(live, claim, probe, shard), timeout=limit_s)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        self._trust()
        return shard_wire.best_from_wire(answer)

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()

    def _failed(self, error: grpc.aio.AioRpcError | InvalidInputError) -> TesseraError:
        """What the failure is to who asked; a peer that says what it lacks is not doubtful."""
        if isinstance(error, InvalidInputError):
            self._doubt(str(error))
            return UnavailableError("gallery", f"{self._address} answers something else")
        detail = detail_of(error)
        told = _told(detail)
        if told is not None:
            return told
        self._doubt(detail.reason)
        return UnavailableError("gallery", f"{self._address}: {detail.reason}")

    def _doubt(self, why: str) -> None:
        if self._doubtful_until_s is None:
            get_logger().warning("peer.doubtful", peer=self._address, why=why)
        self.holding = None
        self._doubtful_until_s = self._clock.monotonic_s() + _DOUBTFUL_S

    def _trust(self) -> None:
        if self._doubtful_until_s is not None:
            get_logger().info("peer.back", peer=self._address)
        self._doubtful_until_s = None


def _told(detail: StatusDetail) -> TesseraError | None:
    told = detail.metadata
    if detail.reason == "MODEL_MISMATCH":
        return ModelMismatchError(told.get("allowed", ""), told.get("value", ""), "a part of the gallery")
    if detail.reason == "POSITION_NOT_REACHED":
        position, reached, shard = (int(told.get(name, "0")) for name in ("position", "reached", "shard"))
        return PositionNotReachedError(position, reached, shard, told.get("why", ""))
    return None
