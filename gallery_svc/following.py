"""Keeps this gallery in step with its store, and says whether it may take work: store there, indexes loaded and fresh.

A store that is away comes back, and is waited for. A store that may not be used, one that holds half of a write and one
whose key is missing are not waited for: a gallery that starts on such a store ends, and says what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from gallery_svc.calibrations import Calibrations
from gallery_svc.collections import DEFAULT_COLLECTION, Collections
from gallery_svc.members import SignsOfLife
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.replica import Replica
from tessera.chassis.logs import get_logger
from tessera.domain.errors import KeyMissingError, OutcomeUnknownError, StoreCorruptError, UnavailableError


class Follower:
    """Looks at the store at a steady pace.

    Args:
        prepare: checks the store and sets it up.
        replica: what is kept in step.
        collections: makes the default collection when it is missing.
        calibrations: what takes to the choices that stand in the store.
        signs: tells the others how far this process is.
        metrics: where it counts.
        interval_s: the pace.
        max_lag_s: with an index that is behind for longer, it is not ready.
        set_ready: told whether the gallery may take work, whenever that changes.
    """

    def __init__(
        self,
        *,
        prepare: Callable[[], Awaitable[None]],
        replica: Replica,
        collections: Collections,
        calibrations: Calibrations,
        signs: SignsOfLife,
        metrics: GalleryMetrics,
        interval_s: float,
        max_lag_s: float,
        set_ready: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._prepare = prepare
        self._replica = replica
        self._collections = collections
        self._calibrations = calibrations
        self._signs = signs
        self._metrics = metrics
        self._interval_s = interval_s
        self._max_lag_s = max_lag_s
        self._set_ready = set_ready
        self._obstacle: str | None = ""
        self._was_ready = False
        self._prepared = False
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Follow until `stop`.

        Raises:
            InvalidInputError: the store may not be used: it evicts keys, is less durable than asked, or holds another
                schema.
            StoreCorruptError: it held half of a write when this gallery started.
            KeyMissingError: it held values under a key that this gallery was not given, when it started.
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
            await self._look()
        except (UnavailableError, OutcomeUnknownError) as error:
            # What answers next may be another server: it is checked again.
            self._prepared = False
            self._metrics.store_up.set(0)
            await self._turn(str(error))
        except (StoreCorruptError, KeyMissingError) as error:
            if not self._was_ready:
                raise
            await self._turn(str(error))
        else:
            self._metrics.store_up.set(1)
            await self._turn(self._lag())

    async def _look(self) -> None:
        if not self._prepared:
            await self._prepare()
            self._prepared = True
        await self._calibrations.refresh()  # before anything is decided by what is loaded
        records = await self._replica.refresh()
        if DEFAULT_COLLECTION not in {record.collection_id for record in records}:
            await self._collections.ensure_default()
            await self._replica.refresh()
        await self._signs.tell()
        await self._replica.settle(self._interval_s)
        failure = self._replica.failure()
        if failure is not None:
            raise failure

    def _lag(self) -> str | None:
        """What stands in the way of being ready while the store is there; None: nothing."""
        if not self._was_ready and not self._replica.is_loaded():
            return "collections are being loaded"
        behind = self._replica.furthest_behind()
        if behind.seconds > self._max_lag_s:
            return f"an index has been behind the store for more than {self._max_lag_s:g} s ({behind.why.lower()})"
        return None

    async def _turn(self, obstacle: str | None) -> None:
        if obstacle == self._obstacle:
            return
        before, self._obstacle = self._obstacle, obstacle
        if obstacle is None:
            self._was_ready = True
            get_logger().info("gallery.ready")
        elif self._was_ready:
            get_logger().error("gallery.not_ready", why=obstacle)
        else:
            get_logger().warning("gallery.not_ready", why=obstacle)
        if (before is None) != (obstacle is None):
            await self._set_ready(obstacle is None)
