"""Processes that open the rows of a load beside this one: opening holds Python's lock, so that threads gain nothing.

They are started with the first large load and ended with the last. Until they are ready, and whenever one of them ends
or gives rows back, those rows are opened here: a load needs none of them. Keys go to them over a socket that nobody
else has; they get no environment of this process but what Python itself needs.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from gallery_svc.store.loading import COUNT, RowRequest, message_of
from gallery_svc.store.row_cutting import RowColumns
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks

FEWEST_ROWS = 50_000
"""A smaller collection is loaded in less time than the processes need to start."""

AT_ONCE = 2
"""Requests of each process: while it works at one, the next is on its way."""

_MOST = 4
_MODULE = "gallery_svc.store.loading"
_STREAM_BYTES = 4 << 20
_END_LIMIT_S = 1.0
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV")


def processes_here() -> int:
    """So many are good on this machine: none where there is only one processor for all."""
    cores = len(os.sched_getaffinity(0))
    return min(_MOST, cores) if cores > 1 else 0


class LoadProcesses:
    """The processes of one store, shared by all loads that are under way.

    Args:
        count: so many; None: as many as are good on this machine, for collections of `FEWEST_ROWS` or more.
    """

    def __init__(self, count: int | None = None) -> None:
        self._count = count
        self._loads = 0
        self._processes: list[_Process] = []

    def wanted(self, rows: int) -> int:
        """How many a load of so many rows is to have."""
        if self._count is not None:
            return self._count
        return processes_here() if rows >= FEWEST_ROWS else 0

    @asynccontextmanager
    async def during(self, rows: int, keys: Mapping[bytes, bytes]) -> AsyncIterator[None]:
        """Have them for the time of a load.

        Args:
            rows: of the collection, about.
            keys: key-encryption keys by the header of the values that they open.
        """
        self._loads += 1
        if not self._processes:
            self._processes = [_Process(keys) for _ in range(self.wanted(rows))]
        try:
            yield
        finally:
            self._loads -= 1
            if not self._loads:
                ended, self._processes = self._processes, []
                await asyncio.gather(*(process.end() for process in ended))

    @property
    def room(self) -> int:
        """How many requests may be under way at once; 0: none is ready."""
        return AT_ONCE * sum(process.ready for process in self._processes)

    async def columns(self, request: RowRequest) -> RowColumns | None:
        """Have rows opened by the one that has least to do; None: they must be opened here."""
        ready = [process for process in self._processes if process.ready]
        return await min(ready, key=lambda process: process.due).columns(request) if ready else None

    def pids(self) -> list[int]:
        """Those that run."""
        return [process.pid for process in self._processes if process.ready]


class _Process:
    """One of them.

    Args:
        keys: what it opens with.
    """

    def __init__(self, keys: Mapping[bytes, bytes]) -> None:
        self.ready = False
        self.pid = 0
        self._keys = keys
        self._asked: deque[asyncio.Future[RowColumns | None]] = deque()
        self._sending = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._running = asyncio.create_task(self._run())

    @property
    def due(self) -> int:
        """Requests that it has not answered."""
        return len(self._asked)

    async def columns(self, request: RowRequest) -> RowColumns | None:
        """Have rows opened; None: they must be opened here."""
        answer: asyncio.Future[RowColumns | None] = asyncio.get_running_loop().create_future()
        async with self._sending:
            if self._writer is None or not self.ready:
                return None
            self._asked.append(answer)
            self._writer.writelines(message_of(request))
            with suppress(ConnectionError):  # whoever reads from it sees that, too
                await self._writer.drain()
        return await answer

    async def end(self) -> None:
        """End it."""
        await end_tasks(self._running)

    async def _run(self) -> None:
        try:
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    child = await _started(theirs)
                self.pid = child.pid
                try:
                    await self._listen(ours.dup())
                finally:
                    self.ready = False
                    await _ended(child)
        except (OSError, EOFError, struct.error) as error:
            get_logger().warning("load.process_ended", process=self.pid, error=type(error).__name__)
        finally:
            self.ready = False
            for answer in self._asked:
                if not answer.done():
                    answer.set_result(None)

    async def _listen(self, line: socket.socket) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=line, limit=_STREAM_BYTES)
        try:
            self._writer.writelines(message_of([part for pair in self._keys.items() for part in pair]))
            await _received(reader)
            self.ready = True
            while True:
                parts = await _received(reader)
                answer = self._asked.popleft()
                if not answer.done():
                    answer.set_result(RowColumns(*parts) if parts else None)
        finally:
            self._writer.close()


async def _started(line: socket.socket) -> asyncio.subprocess.Process:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    nothing = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", _MODULE, stdin=line.fileno(), stdout=nothing, stderr=nothing, env=environment
    )


async def _ended(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.kill()  # it has nothing to finish
    await child.wait()


async def _received(reader: asyncio.StreamReader) -> Sequence[bytes]:
    (count,) = COUNT.unpack(await reader.readexactly(COUNT.size))
    lengths = struct.unpack(f"<{count}Q", await reader.readexactly(8 * count))
    return [await reader.readexactly(length) for length in lengths]
