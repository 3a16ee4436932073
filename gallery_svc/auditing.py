"""The way of an audit entry into its log: stamped so that it can be proven, and written together with its neighbours.

Knows no records and no store: it is handed both. Never holds an entry back for longer than others need that are on
their way: there is no timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gallery_svc.gathering import until_nobody_comes
from tessera.domain.errors import InvalidInputError, OverloadedError, UnavailableError
from tessera.trust.ranges import Ranges
from tessera.trust.stamps import MacMaker, Stamp, stamped_bytes

Record = TypeVar("Record")

KEY_BYTES = 32
MAX_BATCH = 256
MAX_WAITING = 4096


@dataclass(slots=True)
class _Count:
    """A writer's count in one log."""

    last: int = 0
    open: dict[int, None] = field(default_factory=dict)
    """Stamped and not settled, in the order of the count."""
    untold: Ranges = field(default_factory=Ranges)
    """Given up, and no stamp that tells so is on record yet."""

    @property
    def settled(self) -> int:
        return next(iter(self.open)) - 1 if self.open else self.last


class AuditStamper:
    """Stamps the entries of one writer.

    For one event loop: no call is interrupted by another. Every stamp must be told of by `settled` or `gave_up`, or the
    stamps behind it vouch for nothing.

    Args:
        key: the audit key, 32 bytes.
        writer: this process; never one that was used before, since its count begins at 1.
    """

    def __init__(self, key: bytes, writer: str) -> None:
        if len(key) != KEY_BYTES:
            raise InvalidInputError("audit key", f"{len(key)} bytes", f"{KEY_BYTES} bytes")
        self._macs = MacMaker(key)
        self._writer = writer
        self._counts: dict[str, _Count] = {}

    def stamp(self, log: str, entry: bytes) -> Stamp:
        """The stamp of an entry that is about to be written.

        Args:
            log: where it goes.
            entry: its bytes.
        """
        count = self._counts.setdefault(log, _Count())
        settled = count.settled
        count.last += 1
        count.open[count.last] = None
        given_up = tuple(number for span in count.untold.spans for number in span)
        bare = Stamp(self._writer, count.last, settled, given_up, b"")
        mac = self._macs.mac_of(stamped_bytes(log, entry, bare))
        return Stamp(self._writer, count.last, settled, given_up, mac)

    def settled(self, log: str, stamp: Stamp) -> None:
        """It is written."""
        count = self._counts[log]
        count.open.pop(stamp.n, None)
        for first, last in stamp.given_up_spans:
            count.untold.remove(first, last)

    def gave_up(self, log: str, stamp: Stamp) -> None:
        """It was not written, or nobody can say; the next stamps tell so."""
        count = self._counts[log]
        if stamp.n in count.open:
            del count.open[stamp.n]
            count.untold.add(stamp.n, stamp.n)


@dataclass(slots=True)
class _Waiting(Generic[Record]):
    record: Record
    sequence: asyncio.Future[int]


class AuditBatcher(Generic[Record]):
    """Writes concurrent records of one log together: while one write is under way, the next ones gather.

    Args:
        append: writes records to a log in order, at once or not at all, and gives the sequence of each.
        max_batch: records of one write at most.
        max_waiting: records that may wait at once; one more is refused.
        on_batch: told how many went in each write.
    """

    def __init__(
        self,
        append: Callable[[str, Sequence[Record]], Awaitable[list[int]]],
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._append = append
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._on_batch = on_batch
        self._waiting: dict[str, deque[_Waiting[Record]]] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}

    async def record(self, log: str, record: Record) -> int:
        """Write a record; returns when it is on record.

        A caller that is cancelled before its record's turn takes it back; later, it is written all the same.

        Returns:
            Its sequence.

        Raises:
            OverloadedError: too many wait already.
            UnavailableError: whatever `append` raised, or the batcher was closed.
        """
        if sum(map(len, self._waiting.values())) >= self._max_waiting:
            raise OverloadedError("audit", self._max_waiting)
        waiting = _Waiting(record, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(log, deque()).append(waiting)
        if log not in self._writers:
            self._writers[log] = asyncio.create_task(self._write(log), name=f"audit {log}")
        return await waiting.sequence

    async def drain(self) -> None:
        """Wait until all that waits is written."""
        while self._writers:
            await asyncio.wait(list(self._writers.values()))

    async def close(self) -> None:
        """Give up what is not written; those who wait are told."""
        writers = list(self._writers.values())
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
        # A task that had not begun yet has not told anybody.
        for log in list(self._waiting):
            self._end(log)

    async def _write(self, log: str) -> None:
        waiting = self._waiting[log]
        batch: list[_Waiting[Record]] = []
        try:
            while waiting:
                await until_nobody_comes(waiting, self._max_batch)
                if batch := self._next_batch(waiting):
                    await self._write_batch(log, batch)
                batch = []
        finally:
            # Only one that is stopped has something left.
            waiting.extendleft(reversed(batch))
            self._end(log)

    def _end(self, log: str) -> None:
        del self._writers[log]
        for left in self._waiting.pop(log):
            _fail(left.sequence, UnavailableError("audit log", "its writer was stopped"))

    def _next_batch(self, waiting: deque[_Waiting[Record]]) -> list[_Waiting[Record]]:
        batch: list[_Waiting[Record]] = []
        while waiting and len(batch) < self._max_batch:
            one = waiting.popleft()
            if not one.sequence.done():
                batch.append(one)
        return batch

    async def _write_batch(self, log: str, batch: Sequence[_Waiting[Record]]) -> None:
        self._on_batch(len(batch))
        try:
            sequences = await self._append(log, [one.record for one in batch])
            told = list(zip(batch, sequences, strict=True))
        except Exception as error:  # noqa: BLE001 - each caller gets it, whatever it is
            for one in batch:
                _fail(one.sequence, error)
            return
        for one, sequence in told:
            if not one.sequence.done():
                one.sequence.set_result(sequence)


def _fail(sequence: asyncio.Future[int], error: Exception) -> None:
    if not sequence.done():
        sequence.set_exception(error)
