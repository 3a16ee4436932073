"""One server of the store and the connections to it; what is free is used again, and there is a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gallery_svc.store.door import Command
from gallery_svc.store.line import AnswerLostError, Line, NotSentError
from tessera.chassis.store_address import Credentials, Endpoint

_MAX_LINES = 64


class Node:
    """One server.

    Args:
        endpoint: where it is.
        credentials: who we are to it.
        timeout_s: for connecting, for waiting until a line is free, and for an answer.
        database: its number.
        primary_only: refuse to speak to it while it is a replica.
        max_lines: connections at once.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        timeout_s: float,
        *,
        database: int = 0,
        primary_only: bool = False,
        max_lines: int = _MAX_LINES,
    ) -> None:
        self.endpoint = endpoint
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._database = database
        self._primary_only = primary_only
        self._max_lines = max_lines
        self._room = asyncio.Semaphore(max_lines)
        self._retired = False
        self._closed = False
        self._free: list[Line] = []
        self._all: set[Line] = set()
        self.certificate_ends_s: float | None = None
        """Of the last connection that was asked; None: it has no certificate, or did not check it."""

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        """One connection for the block alone; it is kept for the next only when no answer is due on it.

        Raises:
            NotSentError: there is none to be had.
        """
        await self._enter()
        try:
            line = self._take() or await self._open()
            try:
                yield line
            except AnswerLostError as error:
                if error.cause == "TIMEOUT":  # the others lead to the same silence: the next one knocks anew
                    self.drop_free()
                raise
            finally:
                self._give_back(line)
        finally:
            self._room.release()

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """One exchange on any line.

        Raises:
            NotSentError: there is no connection.
            AnswerLostError: no answer.
        """
        async with self.line() as line:
            self.certificate_ends_s = line.certificate_ends_s
            return await line.exchange(commands, self._timeout_s)

    def retire(self) -> None:
        """Keep no connection any more: the topology knows it no longer. What is under way may end."""
        self._retired = True
        self.drop_free()

    def drop_free(self) -> None:
        """Close the connections that nobody uses now."""
        while self._free:
            self._forget(self._free.pop())

    async def close(self) -> None:
        """Close every connection, those being opened too; there are none after it."""
        self._retired = self._closed = True
        lines, self._free = list(self._all), []
        for line in lines:
            self._forget(line)
        for line in lines:
            await line.closed()

    async def _enter(self) -> None:
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._room.acquire()
        except TimeoutError:
            raise NotSentError(f"{self.endpoint}: its {self._max_lines} connections are in use") from None

    def _take(self) -> Line | None:
        while self._free:
            line = self._free.pop()
            if line.usable and not line.hung_up():
                return line
            self._forget(line)
        return None

    async def _open(self) -> Line:
        if self._closed:
            raise NotSentError(f"{self.endpoint}: closed")
        line = Line()
        self._all.add(line)  # before it is open: who closes the node closes it, too
        try:
            await line.open(
                self.endpoint, self._credentials, self._database, self._timeout_s, primary_only=self._primary_only
            )
        except BaseException:
            self._all.discard(line)
            raise
        return line

    def _give_back(self, line: Line) -> None:
        if line.usable and not self._retired:
            self._free.append(line)
        else:
            self._forget(line)

    def _forget(self, line: Line) -> None:
        self._all.discard(line)
        line.abort()
