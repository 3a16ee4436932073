"""Searches: small indexes on the spot, large ones on a thread, so that a long search holds up nobody else."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from gallery_svc.index.protocol import Hit, Index
from tessera.domain.embedding import Embedding

_NUMBERS_ON_THE_SPOT = 1_000_000
"""About 0.2 ms of search: what a hop to a thread and back costs under load."""


class Searcher:
    """Searches indexes.

    Args:
        threads: where large searches run; the owner shuts it down.
    """

    def __init__(self, threads: Executor) -> None:
        self._threads = threads

    async def search(self, index: Index, probe: Embedding, limit: int) -> list[Hit]:
        """The subjects most like the probe; see `Index.search`."""
        if index.template_count * probe.vector.size <= _NUMBERS_ON_THE_SPOT:
            return index.search(probe, limit)
        return await asyncio.get_running_loop().run_in_executor(self._threads, index.search, probe, limit)
