"""grpc.health.v1 as every service serves it. Callers that share calls out watch it as long as they are connected."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from grpc_health.v1 import health, health_pb2


class Health(health.aio.HealthServicer):  # type: ignore[misc]  # it ships no types
    """grpc's own servicer, whose watchers are let go at the end: a server that drains would wait for them to the last
    second of its drain."""

    def __init__(self) -> None:
        super().__init__()
        self._watching: set[asyncio.Task[None]] = set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:  # noqa: N802, ANN401 - gRPC's
        """Tell the status now and whenever it changes."""
        watching = asyncio.ensure_future(super().Watch(request, context))
        self._watching.add(watching)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((watching,))
                watching.result()
        finally:
            watching.cancel()
            self._watching.discard(watching)

    @property
    def is_watched(self) -> bool:
        """Whether anybody hears of a change."""
        return bool(self._watching)

    def let_go(self) -> None:
        """End all watches."""
        for watching in self._watching:
            watching.cancel()
