"""A network between cameras and their server that can be cut, in a thread of its own; it remembers who came when."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto


class Line(Enum):
    """What becomes of what is sent."""

    WHOLE = auto()
    CUT = auto()
    """Connections end; new ones are closed as soon as they come."""
    SILENT = auto()
    """Connections stay, and nothing comes through."""


class CuttingProxy:
    """Hands on what comes, on one port.

    Args:
        server_port: of the server behind it, on this machine.
    """

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.arrivals_s: list[float] = []
        """Monotonic moments of every connection that came."""
        self._server_port = server_port
        self._line = Line.WHOLE
        self._whole: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._over: asyncio.Event | None = None

    def set(self, line: Line) -> None:
        """Cut it, silence it or mend it, from any thread; at its return it is so."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._set(line), self._loop).result(10)

    async def _set(self, line: Line) -> None:
        assert self._whole is not None
        self._line = line
        if line is Line.WHOLE:
            self._whole.set()
        else:
            self._whole.clear()
        if line is Line.CUT:
            for writer in self._writers:
                writer.transport.abort()

    def run(self) -> None:
        """Serve until `stop`; the thread's work."""
        asyncio.run(self._run())

    def wait_ready(self) -> None:
        """Wait until it listens.

        Raises:
            TimeoutError: it does not.
        """
        if not self._ready.wait(10):
            raise TimeoutError("the proxy did not come to listen")

    def stop(self) -> None:
        """End it, from any thread."""
        if self._loop is not None and self._over is not None:
            self._loop.call_soon_threadsafe(self._over.set)

    async def _run(self) -> None:
        self._loop, self._whole, self._over = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._whole.set()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrivals_s.append(time.monotonic())
        if self._line is Line.CUT:
            writer.transport.abort()
            return
        up_writer: asyncio.StreamWriter | None = None
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
            self._writers |= {writer, up_writer}
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        except OSError:
            return
        finally:
            for end in (writer, up_writer):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._whole is not None
        while data := await reader.read(65536):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@contextmanager
def cutting_proxy(server_port: int) -> Iterator[CuttingProxy]:
    """A proxy before a server until the block ends."""
    proxy = CuttingProxy(server_port)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    try:
        proxy.wait_ready()
        yield proxy
    finally:
        proxy.stop()
        thread.join(timeout=10)
