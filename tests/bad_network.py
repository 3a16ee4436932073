"""A bad network before a camera: a TCP proxy that delays, cuts, corrupts, throttles and falls silent when told to."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator

_CHUNK_BYTES = 16 * 1024


class BadNetwork:
    """Stands before a server on the loopback. What it does may be changed while connections are open.

    Args:
        server_port: where the server listens.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._chance = random.Random(5)
        self.delay_s = 0.0
        """Each piece from the server is held back for so long."""
        self.bytes_per_s = 0.0
        """What the server sends passes no faster; 0: as it comes."""
        self.corrupts = 0.0
        """The share of the server's pieces in which a few bytes are changed."""
        self.is_silent = False
        """Nothing passes; connections are taken and stay open."""
        self.connections = 0

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self._listener.getsockname()[1])

    def cut(self) -> None:
        """Break every connection that is open."""
        with self._lock:
            broken, self._open = self._open, set()
        for end in broken:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Take connections until it is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Break everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port), 5.0)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with self._lock:
            self._open |= {client, server}
        down = threading.Thread(target=self._pass, args=(server, client, True), daemon=True)
        down.start()
        self._pass(client, server, False)
        down.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pass(self, source: socket.socket, sink: socket.socket, is_down: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                while self.is_silent:
                    time.sleep(0.02)
                if is_down:
                    data = self._worsened(data)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _worsened(self, data: bytes) -> bytes:
        if self.delay_s:
            time.sleep(self.delay_s)
        if self.bytes_per_s:
            time.sleep(len(data) / self.bytes_per_s)
        if self.corrupts and self._chance.random() < self.corrupts:
            changed = bytearray(data)
            for _ in range(1 + len(data) // 200):
                changed[self._chance.randrange(len(changed))] ^= 1 << self._chance.randrange(8)
            return bytes(changed)
        return data


@contextlib.contextmanager
def bad_network(server_port: int) -> Iterator[BadNetwork]:
    """A network that is good until it is told otherwise, for the block."""
    network = BadNetwork(server_port)
    thread = threading.Thread(target=network.run, daemon=True)
    thread.start()
    try:
        yield network
    finally:
        network.is_silent = False
        network.close()
        thread.join(5)
