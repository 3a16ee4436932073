"""Looks at the store's servers and tells what they say of their memory, their files and their replicas.

For sites without an exporter beside the store. It asks, and never sets anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.store.door import NodeInfo
from tessera.domain.errors import UnavailableError

EVERY_S = 5.0


class StoreWatch:
    """Asks every few seconds until `stop`.

    Args:
        nodes: describes each server; None: the store has none.
        metrics: where it is told.
    """

    def __init__(self, nodes: Callable[[], Awaitable[Sequence[NodeInfo]]] | None, metrics: GalleryMetrics) -> None:
        self._nodes = nodes
        self._metrics = metrics
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Look until `stop`. While the store is away the last words stand: `store_up` says that it is."""
        while self._nodes is not None and not self._stopped.is_set():
            with contextlib.suppress(UnavailableError):
                self.show(await self._nodes())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._stopped.wait()

    def stop(self) -> None:
        """End `run` after the look under way."""
        self._stopped.set()

    def show(self, nodes: Sequence[NodeInfo]) -> None:
        """Tell what the servers said; who is not among them any more is told no longer."""
        m = self._metrics
        gauges = (m.store_memory, m.store_memory_limit, m.store_persists, m.store_replicas, m.store_certificate)
        for gauge in gauges:
            gauge.clear()
        for node in (one for one in nodes if one.reachable):
            m.store_memory.labels(node.address).set(node.memory_bytes)
            if node.memory_limit_bytes:
                m.store_memory_limit.labels(node.address).set(node.memory_limit_bytes)
            is_well = node.appendonly is not False and not (node.write_failed or node.rewrite_failed)
            m.store_persists.labels(node.address).set(int(is_well))
            if node.role == "primary":
                m.store_replicas.labels(node.address).set(node.replicas_online)
            if node.certificate_ends_s is not None:
                m.store_certificate.labels(node.address).set(node.certificate_ends_s)
