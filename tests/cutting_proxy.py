"""A network that fails at the worst moment: it delivers a command, lets the server answer, and keeps the answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

Loss = Literal["cut", "silence"]


@dataclass(slots=True)
class CuttingProxy:
    """Stands before a server on the loopback and hands on what comes, until it is told to lose an answer."""

    server_port: int
    port: int = 0
    lost: int = 0
    """Answers that it kept."""
    connections: int = 0
    _needle: bytes = b""
    _loss: Loss = "cut"
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"redis://127.0.0.1:{self.port}/0"

    def lose_answer_to(self, needle: bytes, loss: Loss = "cut") -> None:
        """Lose the next answer to what holds these bytes.

        Args:
            needle: part of a command.
            loss: `cut`: the connection to the client is closed; `silence`: it stays open, and nothing comes.
        """
        self._needle, self._loss = needle, loss

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        self._writers += [writer, up_writer]
        losing = asyncio.Event()
        down = asyncio.create_task(self._down(up_reader, writer, losing))
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self._needle and self._needle in data:
                    self._needle = b""
                    losing.set()
                up_writer.write(data)
                await up_writer.drain()
        up_writer.close()
        await down

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if losing.is_set():
                    self.lost += 1
                    if self._loss == "cut":
                        break
                    continue
                writer.write(data)
        writer.close()

    def close(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def cutting_proxy(server_port: int) -> AsyncIterator[CuttingProxy]:
    """A proxy before a server, for the block."""
    proxy = CuttingProxy(server_port)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(proxy.serve(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        proxy.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()
