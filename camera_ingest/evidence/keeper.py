"""The vault as the event loop sees it: written to on a thread of its own, through a queue that is bounded.

What cannot be written is counted and told in the log, and nobody waits for it: a full disk costs pictures of what was
seen, and no frame. Refuses to retry: the next piece is newer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from camera_ingest.evidence.vault import Gone, Kind, NotKeptError, Piece, Removal, Shown, Vault
from camera_ingest.metrics import IngestMetrics
from tessera.chassis.logs import get_logger

log = get_logger()

Answer = TypeVar("Answer")

MAX_WAITING = 64
TIDY_EVERY_S = 30.0


class Keeper:
    """Keeps pieces of evidence. Used from one event loop.

    Args:
        vault: on disk; nobody else touches it.
        metrics: where it counts.
    """

    def __init__(self, vault: Vault, metrics: IngestMetrics) -> None:
        self._vault = vault
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, "evidence")
        self._waiting = 0
        self._is_troubled = False

    async def run(self) -> None:
        """Open the vault, then remove what gets too old, for ever."""
        is_open = False
        while True:
            try:
                self._count_gone(await self._do(self._vault.tidy if is_open else self._vault.open))
                is_open = True
            except OSError as error:
                self._say_trouble("WRITE", str(error.strerror))
            self._metrics.evidence_bytes.set(self._vault.size_bytes)
            await asyncio.sleep(TIDY_EVERY_S)

    def keep(self, piece: Piece, make: Callable[[], bytes]) -> None:
        """Keep a piece, when its turn comes; past 64 that wait it is given up.

        Args:
            piece: what it is.
            make: makes its body, on the vault's thread.
        """
        if self._waiting >= MAX_WAITING:
            self._metrics.evidence_lost.labels(piece.kind.value, "BUSY").inc()
            return
        self._waiting += 1
        task = asyncio.get_running_loop().run_in_executor(self._thread, self._put, piece, make)
        task.add_done_callback(lambda done: self._kept(piece.kind, done))

    async def get(self, kind: Kind, piece_id: str) -> tuple[Piece, bytes]:
        """A piece and its body.

        Raises:
            NotFoundError: it was never kept, has gone, or is torn.
        """
        return await self._do(lambda: self._vault.get(kind, piece_id))

    async def shown(self) -> frozenset[Shown]:
        """All that is shown by something that is kept."""
        pieces = await self._do(lambda: self._vault.pieces)
        return frozenset(shown for piece in pieces for shown in piece.shows)

    async def erase_showing(self, gone: frozenset[Shown]) -> int:
        """Remove what shows one of these; returns how many pieces that were."""
        removed = await self._do(lambda: self._vault.erase_showing(gone))
        self._count_gone((Gone(Removal.ERASED, removed),) if removed else ())
        return removed

    async def flush(self) -> None:
        """Wait until everything that was to be kept so far is written or given up."""
        await self._do(lambda: None)

    def close(self) -> None:
        """Write what waits, and let the thread end."""
        self._thread.shutdown(wait=True)

    async def _do(self, call: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _put(self, piece: Piece, make: Callable[[], bytes]) -> tuple[Gone, ...]:
        return self._vault.put(piece, make())

    def _kept(self, kind: Kind, done: asyncio.Future[tuple[Gone, ...]]) -> None:
        self._waiting -= 1
        with contextlib.suppress(asyncio.CancelledError):
            error = done.exception()
            if isinstance(error, NotKeptError):
                self._metrics.evidence_lost.labels(kind.value, error.trouble.value).inc()
                self._say_trouble(error.trouble.value, "")
            elif error is not None:
                self._metrics.evidence_lost.labels(kind.value, "INTERNAL").inc()
                log.error("evidence.failed", kind=kind.value, exc_info=error)
            else:
                self._is_troubled = False
                self._metrics.evidence_kept.labels(kind.value).inc()
                self._count_gone(done.result())
        self._metrics.evidence_bytes.set(self._vault.size_bytes)

    def _say_trouble(self, trouble: str, detail: str) -> None:
        # Once, until something is kept again: a full disk would fill the log too.
        if not self._is_troubled:
            log.warning("evidence.not_kept", trouble=trouble, detail=detail)
        self._is_troubled = True

    def _count_gone(self, gone: tuple[Gone, ...]) -> None:
        for one in gone:
            self._metrics.evidence_removed.labels(one.reason.value).inc(one.pieces)
