"""Free ports of the loopback address, for services that must know their port before they listen."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import socket
import tempfile
import threading
from pathlib import Path

HOST = "127.0.0.1"

# Below what systems hand out to outgoing connections (from 32768 on Linux, 49152 on macOS) and below the ports of
# Kubernetes' nodes (30000): between our looking and a server's listening, no connection of anybody takes the port,
# and a client that calls a server that is away cannot be connected to itself.
FIRST_PORT, PORTS = 20_000, 10_000


class PortClaims:
    """Ports that this process has been given, each told to the other processes of this user by a lock on one byte of a
    file, which ends with the process.

    Args:
        file: the same for all who are not to be given the same port; made when missing. Where it cannot be made, a port
            is only known to be free at that moment.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._process = 0
        self._descriptor = -1
        self._given: set[int] = set()
        self._one_at_a_time = threading.Lock()

    def free_port(self) -> int:
        """A TCP port of the loopback address that nobody listens on, and that nobody was or is given here until this
        process ends.

        Raises:
            OSError: none was found.
        """
        with self._one_at_a_time:
            self._open()
            for port in random.SystemRandom().sample(range(FIRST_PORT, FIRST_PORT + PORTS), PORTS):
                if port not in self._given and self._claimed(port):
                    self._given.add(port)
                    if _nobody_listens(port):
                        return port
        raise OSError(errno.EADDRINUSE, f"no free port of {HOST} from {FIRST_PORT} to {FIRST_PORT + PORTS - 1}")

    def _open(self) -> None:
        if self._process != os.getpid():  # a forked process has none of its parent's locks
            self._process, self._descriptor = os.getpid(), -1
            with contextlib.suppress(OSError):  # a full disk: ports are found without telling others of them
                self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _claimed(self, port: int) -> bool:
        if self._descriptor < 0:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except (BlockingIOError, PermissionError):
            return False
        return True


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on, and that no process of this user was or is given here
    until this process ends.

    Raises:
        OSError: none was found.
    """
    return _claims.free_port()


_claims = PortClaims(Path(tempfile.gettempdir()) / f"tessera-ports-{os.getuid()}")


def _nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: a port whose old connections still linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
