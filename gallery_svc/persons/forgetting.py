"""Looks every half minute for persons whose time is over, and has the store's files written anew without them.

The one gallery with the lease erases; every gallery lets go of what it holds in memory. What was removed from the store
is in its files until they are written anew, which costs as much as all that it holds: once an hour, if anything went.
"""

from __future__ import annotations

import asyncio
import contextlib

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.persons.erasing import PersonEraser
from gallery_svc.persons.keeping import LookKeeper
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.protocol import Store
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.embedding import Modality
from tessera.domain.errors import NotFoundError, TesseraError

LEASE = "persons"
_LEASE_S = 120.0


class PersonForgetting:
    """Looks at a steady pace.

    Args:
        store: where persons are kept.
        keeper: keeps the looks.
        eraser: erases them.
        clock: for the pace.
        metrics: where it counts.
        member_id: this gallery, as holder of the lease.
        interval_s: the pace.
        rewrite_every_s: files are written anew so often at most; None: never.
    """

    def __init__(
        self,
        *,
        store: Store,
        keeper: LookKeeper,
        eraser: PersonEraser,
        clock: Clock,
        metrics: GalleryMetrics,
        member_id: str,
        interval_s: float,
        rewrite_every_s: float | None,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._eraser = eraser
        self._clock = clock
        self._metrics = metrics
        self._member_id = member_id
        self._interval_s = interval_s
        self._rewrite_every_s = rewrite_every_s
        self._in_files = False
        self._rewritten_s = self._swept_s = clock.monotonic_s()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Look until `stop`."""
        while not self._stopped.is_set():
            try:
                await self.step()
                self._swept_s = self._clock.monotonic_s()
            except TesseraError as error:  # the next look is not far
                get_logger().warning("persons.failed", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - the edge of this task: person_overdue_seconds shows that it does not get on
                get_logger().exception("persons.failed")
            self._metrics.person_overdue.set(self._clock.monotonic_s() - self._swept_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._stopped.wait()

    def stop(self) -> None:
        """End `run` after the look under way."""
        self._stopped.set()

    async def step(self) -> int:
        """Look once.

        Returns:
            How many looks went from the store.
        """
        records = [one for one in await self._store.list_collections() if one.modality is Modality.PERSON]
        self._keeper.forget_all_but(records)
        if not records:
            return 0
        if not await self._store.take_lease(LEASE, self._member_id, _LEASE_S):
            for record in records:
                with contextlib.suppress(NotFoundError):
                    await self._keeper.looks(record)
            return 0
        dropped = sum([await self._sweep(record) for record in records])
        await self._rewrite_if_due()
        return dropped

    async def _sweep(self, record: CollectionRecord) -> int:
        try:
            erased = await self._eraser.sweep(record)
        except NotFoundError:  # the collection went meanwhile, and its looks with it
            return 0
        if erased.looks:
            self._in_files = True
            get_logger().info(
                "persons.expired", collection=record.collection_id, looks=erased.looks, events=erased.events
            )
        return erased.looks

    async def _rewrite_if_due(self) -> None:
        now_s = self._clock.monotonic_s()
        if self._rewrite_every_s is None or not self._in_files or now_s < self._rewritten_s + self._rewrite_every_s:
            return
        self._rewritten_s = now_s
        await self._store.rewrite_files()
        self._in_files = False
