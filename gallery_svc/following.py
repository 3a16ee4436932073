"""Keeps this gallery in step with its store, and says whether it may take work: store there, index loaded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from gallery_svc.collections import DEFAULT_COLLECTION, Collections
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.replica import Replica
from gallery_svc.store.protocol import Store
from tessera.chassis.logs import get_logger
from tessera.domain.errors import StoreCorruptError, UnavailableError


class Follower:
    """Looks at the store at a steady pace.

    Args:
        store: what is looked at.
        replica: what is kept in step.
        collections: makes the default collection when it is missing.
        metrics: where it counts.
        interval_s: the pace.
        set_ready: told whether the gallery may take work, whenever that changes.
    """

    def __init__(
        self,
        *,
        store: Store,
        replica: Replica,
        collections: Collections,
        metrics: GalleryMetrics,
        interval_s: float,
        set_ready: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._store = store
        self._replica = replica
        self._collections = collections
        self._metrics = metrics
        self._interval_s = interval_s
        self._set_ready = set_ready
        self._ready = False
        self._prepared = False
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Follow until `stop`.

        Raises:
            InvalidInputError: the store may not be used: it evicts keys, or holds another schema.
        """
        while not self._stopped.is_set():
            await self.step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._stopped.wait()

    def stop(self) -> None:
        """End `run` after the look under way, which the store's own time limit bounds.

        Not by cancelling: a cancellation that meets the store client's own timeout may be swallowed by it.
        """
        self._stopped.set()

    async def step(self) -> None:
        """Look once."""
        try:
            if not self._prepared:
                await self._store.prepare()
                self._prepared = True
            records = await self._replica.refresh()
            if DEFAULT_COLLECTION not in {record.collection_id for record in records}:
                await self._collections.ensure_default()
                await self._replica.refresh()
        except UnavailableError as error:
            # What answers next may be another server: it is checked again.
            self._prepared = False
            await self._turn(False, str(error))
        except StoreCorruptError as error:
            await self._turn(False, str(error))
        else:
            await self._turn(True, "")

    async def _turn(self, ready: bool, detail: str) -> None:
        self._metrics.store_up.set(int(ready))
        if ready == self._ready:
            return
        self._ready = ready
        if ready:
            get_logger().info("store.ready")
        else:
            get_logger().error("store.lost", detail=detail)
        await self._set_ready(ready)
