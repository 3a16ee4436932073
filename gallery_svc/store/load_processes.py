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
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from gallery_svc.store.loading import COUNT, message_of
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks

FEWEST_ROWS = 50_000
"""A smaller collection is loaded in less time than the processes need to start."""

AT_ONCE = 2
"""Requests of each process: while it works at one, the next is on its way."""

_MOST = 4
_IMPORTS = ("gallery_svc", "hiredis", "nacl", "_cffi_backend", "cryptography")
_BEGIN = "import sys; sys.path += sys.argv[1:]; from gallery_svc.store.loading import main; main()"
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV")


def processes_here() -> int:
    """So many are good on this machine: none where there is only one processor for all."""
    cores = len(os.sched_getaffinity(0))
    return min(_MOST, cores) if cores > 1 else 0


class OpenedPage(NamedTuple):
    """A page of rows, opened; numbers in the order of this machine's bytes."""

    id_lengths: memoryview
    """u32 for each subject."""
    ids: memoryview
    """Of the subjects, one behind the other."""
    row_lengths: memoryview
    """u32 for each subject."""
    rows: memoryview
    """What `row_codec.pack_row` made, one behind the other."""
    tags: memoryview
    """16 bytes for each subject: of its sealed row."""


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

    async def opened(self, authenticated: bytes, replies: Sequence[bytes]) -> OpenedPage | None:
        """Have a page opened by the one that has least to do.

        Args:
            authenticated: by each row, before the id of its subject.
            replies: of HSCAN, in pieces.

        Returns:
            What was in it; None: it must be opened here.
        """
        ready = [process for process in self._processes if process.ready]
        return await min(ready, key=lambda process: process.due).opened((authenticated, *replies)) if ready else None

    def pids(self) -> list[int]:
        """Those that run."""
        return [process.pid for process in self._processes if process.ready]


class _Process(asyncio.BufferedProtocol):
    """One of them, and our end of its socket; what comes is written where it stays.

    Args:
        keys: what it opens with.
    """

    def __init__(self, keys: Mapping[bytes, bytes]) -> None:
        self.ready = False
        self.pid = 0
        self._keys = keys
        self._asked: deque[asyncio.Future[OpenedPage | None]] = deque()
        self._ended = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._incoming = _Incoming()
        self._running = asyncio.create_task(self._run())

    @property
    def due(self) -> int:
        """Requests that it has not answered."""
        return len(self._asked)

    async def opened(self, request: Sequence[bytes]) -> OpenedPage | None:
        """Have a page opened; None: it must be opened here."""
        if self._transport is None or not self.ready:
            return None
        answer: asyncio.Future[OpenedPage | None] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        # Whoever asks has but a few requests under way: nothing piles up here.
        self._transport.writelines(message_of(request))
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
        except OSError as error:
            get_logger().warning("load.process_ended", process=self.pid, error=type(error).__name__)
        finally:
            self.ready = False
            for answer in self._asked:
                if not answer.done():
                    answer.set_result(None)

    async def _listen(self, line: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(lambda: self, sock=line)
        try:
            self._transport = transport
            transport.writelines(message_of([part for pair in self._keys.items() for part in pair]))
            await self._ended
        finally:
            transport.abort()

    # ---- what the event loop calls

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - we know what is to come
        """Where the next bytes go."""
        return self._incoming.room

    def buffer_updated(self, nbytes: int) -> None:
        """So many came."""
        parts = self._incoming.take(nbytes)
        if parts is None:
            return
        if not self.ready:  # the first message says no more than that
            self.ready = True
            return
        answer = self._asked.popleft()
        if not answer.done():
            answer.set_result(OpenedPage(*parts) if parts else None)

    def connection_lost(self, error: Exception | None) -> None:
        """It ended."""
        self.ready = False
        if not self._ended.done():
            self._ended.set_exception(error if isinstance(error, OSError) else ConnectionResetError())


class _Incoming:
    """A message on its way: its count, its lengths, then all of its parts in one piece of memory."""

    def __init__(self) -> None:
        self._lengths: tuple[int, ...] | None = None
        self._expect(COUNT.size)

    @property
    def room(self) -> memoryview:
        """What is still to come of this step."""
        return self._whole[self._used :]

    def take(self, nbytes: int) -> list[memoryview] | None:
        """So many more bytes are there.

        Returns:
            The parts of a message; None: it is not complete.
        """
        self._used += nbytes
        while self._used == len(self._whole):
            if self._lengths is None and len(self._whole) == COUNT.size:
                (count,) = COUNT.unpack(self._whole)
                if not count:
                    return self._complete(())
                self._lengths = ()
                self._expect(8 * count)
            elif not self._lengths:
                self._lengths = struct.unpack(f"<{len(self._whole) // 8}Q", self._whole)
                self._expect(sum(self._lengths))
            else:
                return self._complete(self._lengths)
        return None

    def _complete(self, lengths: Sequence[int]) -> list[memoryview]:
        whole, starts = self._whole, accumulate(lengths, initial=0)
        parts = [whole[start : start + length] for start, length in zip(starts, lengths, strict=False)]
        self._lengths = None
        self._expect(COUNT.size)
        return parts

    def _expect(self, count: int) -> None:
        self._whole, self._used = memoryview(bytearray(count)), 0


async def _started(line: socket.socket) -> asyncio.subprocess.Process:
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    nothing = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-S", "-c", _BEGIN, *_folders()),
        stdin=line.fileno(),
        stdout=nothing,
        stderr=nothing,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the gallery, which decides
    )


def _folders() -> list[str]:
    """Where it finds what it imports: one that need not look through all that is installed begins in half the time."""
    folders: dict[str, None] = {}
    for name in _IMPORTS:
        found = find_spec(name)
        if found is not None and found.origin:
            file = Path(found.origin)
            folders[str(file.parents[1] if found.submodule_search_locations else file.parent)] = None
    return list(folders)


async def _ended(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.kill()  # it has nothing to finish
    await child.wait()
