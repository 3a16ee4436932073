"""The right to be the only one at a step of a collection's move, over all galleries.

It keeps two from doing the same work at once. It is no lock: what a step writes is safe by the revisions it names.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from gallery_svc.store.protocol import Store
from tessera.chassis.tasks import end_tasks
from tessera.domain.errors import PreconditionError, TesseraError, UnavailableError
from tessera.domain.ids import CollectionId

LEASE_S = 30.0
_RENEWALS_A_LEASE = 3


class StepLease:
    """Held from `take` to `give_back`, renewed in between.

    Args:
        store: where it lies.
        collection_id: whose move.
    """

    def __init__(self, store: Store, collection_id: CollectionId) -> None:
        self._store = store
        self._collection_id = collection_id
        self._name = f"reembed/{collection_id}"
        self._holder = secrets.token_hex(8)
        self._renewing: asyncio.Task[None] | None = None

    async def take(self) -> None:
        """Take it.

        Raises:
            PreconditionError: somebody else has it (REEMBED_UNDER_WAY).
        """
        if not await self._store.take_lease(self._name, self._holder, LEASE_S):
            allowed = f"one step at a time; one that was broken off lets go after {LEASE_S:g} s"
            raise PreconditionError("REEMBED_UNDER_WAY", "collection_id", self._collection_id, allowed)
        self._renewing = asyncio.create_task(self._renew())

    def require(self) -> None:
        """Refuse to go on without it.

        Raises:
            UnavailableError: it could not be renewed.
        """
        if self._renewing is not None and self._renewing.done():
            raise UnavailableError("store", "the step's lease could not be renewed; the same step again goes on")

    async def give_back(self) -> None:
        """Let go of it; nothing when it was not taken."""
        if self._renewing is not None:
            await end_tasks(self._renewing)
            with contextlib.suppress(TesseraError):  # it ends by itself
                await self._store.drop_lease(self._name, self._holder)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / _RENEWALS_A_LEASE)
            if not await self._store.take_lease(self._name, self._holder, LEASE_S):
                return
