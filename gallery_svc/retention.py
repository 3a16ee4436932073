"""Erases subjects whose time is over, in collections that keep them for so long and no longer.

Goes the way of any erasure: audit entry, receipt, indexes, files. One gallery works at a time, under a lease. It reads
every subject of such a collection at each look, page by page, so that it looks seldom.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from datetime import datetime, timedelta

from gallery_svc.erasing import Eraser, ErasureRequest
from gallery_svc.probes import Deadline
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.protocol import Store
from gallery_svc.store.subject_records import SubjectRecord
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import NotFoundError, TesseraError
from tessera.domain.ids import RequestId

CALLER = "retention"
_LEASE = "retention"
_LEASE_S = 120.0
_PAGE = 200
_ERASURE_LIMIT_S = 30.0


class Retention:
    """Looks at a steady pace for subjects that were kept long enough.

    Args:
        store: where they are.
        eraser: erases them.
        clock: says what time it is.
        member_id: this gallery, as holder of the lease.
        interval_s: the pace.
    """

    def __init__(self, *, store: Store, eraser: Eraser, clock: Clock, member_id: str, interval_s: float) -> None:
        self._store = store
        self._eraser = eraser
        self._clock = clock
        self._member_id = member_id
        self._interval_s = interval_s
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Look until `stop`."""
        while not self._stopped.is_set():
            try:
                await self.step()
            except TesseraError as error:  # the next look is not far
                get_logger().warning("retention.failed", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._stopped.wait()

    def stop(self) -> None:
        """End `run` after the subject under way."""
        self._stopped.set()

    async def step(self) -> int:
        """Look once.

        Returns:
            How many subjects were erased.
        """
        limited = [record for record in await self._store.list_collections() if record.retention_s is not None]
        if not limited or not await self._lead():
            return 0
        try:
            return sum([await self._sweep(record) for record in limited])
        finally:
            with contextlib.suppress(TesseraError):  # it ends by itself
                await self._store.drop_lease(_LEASE, self._member_id)

    async def _lead(self) -> bool:
        return await self._store.take_lease(_LEASE, self._member_id, _LEASE_S)

    async def _sweep(self, record: CollectionRecord) -> int:
        erased, after = 0, ""
        before = self._clock.now() - timedelta(seconds=record.retention_s or 0.0)
        while not self._stopped.is_set() and await self._lead():
            page = await self._store.list_subjects(record.collection_id, after, _PAGE)
            for subject in page.subjects:
                if last_enrolment(subject) <= before and not self._stopped.is_set():
                    erased += await self._erase(subject)
            after = page.next_after
            if not after:
                break
        if erased:
            get_logger().info("retention.erased", collection=record.collection_id, subjects=erased)
        return erased

    async def _erase(self, subject: SubjectRecord) -> int:
        """One subject. The request id is the same for the same revision: a look that died is gone on with."""
        told = f"{subject.subject_id}/{subject.revision}"
        request_id = RequestId(f"retention-{hashlib.sha256(told.encode()).hexdigest()[:40]}")
        request = ErasureRequest(subject.collection_id, subject.subject_id, request_id, CALLER)
        try:
            await self._eraser.erase(request, Deadline(self._clock, _ERASURE_LIMIT_S))
        except NotFoundError:  # somebody else was quicker
            return 0
        return 1


def last_enrolment(subject: SubjectRecord) -> datetime:
    """When a sample was last added to a subject."""
    return max((template.created_at for template in subject.templates), default=subject.created_at)
