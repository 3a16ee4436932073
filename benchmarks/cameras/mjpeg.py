"""The MJPEG cameras of a scenario: their server as a process, where each is, and who connected when."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import ROOT
from benchmarks.process_group import end_group
from tessera.chassis.ports import free_port

_READY_S = 60.0


@dataclass(slots=True)
class MjpegServer:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]
    connections: list[tuple[str, float]] = field(default_factory=list)
    """(camera, monotonic seconds) of each request, in their order."""

    def url(self, camera: str, port: int | None = None) -> str:
        """Of one camera; through a proxy where its port is given."""
        return f"http://127.0.0.1:{port or self.port}/{camera}"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            self.connections.append((told["camera"], told["at_s"]))


@contextmanager
def mjpeg_server(folders: Mapping[str, Path], rate_hz: float, port: int = 0) -> Iterator[MjpegServer]:
    """Serve cameras until the block ends.

    Args:
        folders: of JPEGs, by camera.
        rate_hz: pictures a second.
        port: 0: a free one.

    Raises:
        TimeoutError: it did not come to listen.
    """
    port = port or free_port()
    named = [f"{name}={folder}" for name, folder in folders.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.cameras.mjpeg_server", str(port), str(rate_hz), *named],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    server = MjpegServer(port, process)
    reader = threading.Thread(target=server._read, daemon=True)
    reader.start()
    try:
        _wait_listening(port, process)
        yield server
    finally:
        end_group(process)
        reader.join(timeout=5)
        if process.stdout is not None and not reader.is_alive():
            process.stdout.close()


def _wait_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + _READY_S
    while process.poll() is None and time.monotonic() < until_s:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the MJPEG server did not come to listen")
