"""The parent's side of the fork server: starts it, asks it for readers, and starts it again should it die.

Used from the threads of the captures. Each order is answered at once: the server forks, looks or kills, and never
waits for a camera.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field

from camera_ingest.reading.order import ReadOrder, dump_order
from camera_ingest.sources.source import SourceError
from tessera.chassis.logs import get_logger

log = get_logger()

_ANSWER_LIMIT_S = 20.0
_POLL_S = 0.02
_END_LIMIT_S = 5.0
_LENGTH = struct.Struct("!I")
_ANSWER = struct.Struct("!i")
_RUNS = -1
_SIGNALLED = 1000


@dataclass(frozen=True, slots=True)
class ReaderProcess:
    """A reader that was forked."""

    process_id: int
    channel: socket.socket = field(repr=False)
    memory: int
    """File descriptor of the memory where it puts pixels; owned by whoever asked for the reader."""
    server: subprocess.Popen[bytes] = field(repr=False)
    """Whose child it is."""


class ReaderHost:
    """Starts readers. Nothing runs before the first one is asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def start_reader(self, order: ReadOrder) -> ReaderProcess:
        """Fork a reader.

        Raises:
            SourceError: no process can be had.
        """
        ours, theirs = socket.socketpair()
        memory = _new_memory()
        try:
            with theirs, self._lock:
                text = dump_order(order).decode()
                server = self._running_server()
                process_id = self._ask("fork", text, (theirs.fileno(), memory))
        except OSError:
            ours.close()
            os.close(memory)
            raise SourceError("no reader can be started; the log has it") from None
        return ReaderProcess(process_id, ours, memory, server)

    def end_reader(self, reader: ReaderProcess, grace_s: float) -> str:
        """Close a reader's channel, give it a moment to leave its camera, then kill it; waits for its end.

        Returns:
            how it ended: empty where it went by itself, or the signal's name.
        """
        reader.channel.close()
        os.close(reader.memory)
        began_s, is_killed = time.monotonic(), False
        while time.monotonic() - began_s < grace_s + _END_LIMIT_S:
            state = self._order(reader, "state")
            if state != _RUNS:
                return "" if is_killed else _told(state)
            if not is_killed and time.monotonic() - began_s >= grace_s:
                self._order(reader, "kill")
                is_killed = True
            time.sleep(_POLL_S)
        log.warning("reader.lingers", process_id=reader.process_id)
        return ""

    def kill_reader(self, reader: ReaderProcess) -> None:
        """Kill a reader that stalls, at once."""
        self._order(reader, "kill")

    def close(self) -> None:
        """End the server and with it every reader."""
        with self._lock:
            self._let_server_go()

    def _order(self, reader: ReaderProcess, what: str) -> int:
        with self._lock:
            if reader.server is not self._server:
                return 0  # it went with its server
            try:
                return self._ask(what, str(reader.process_id))
            except OSError:
                return 0

    def _running_server(self) -> subprocess.Popen[bytes]:
        if self._server is not None and self._server.poll() is None:
            return self._server
        if self._server is not None:
            log.error("reader_server.died", code=self._server.returncode)
        self._let_server_go()
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "camera_ingest.reading", str(theirs.fileno())]
            self._server = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        ours.settimeout(_ANSWER_LIMIT_S)
        self._channel = ours
        return self._server

    def _ask(self, do: str, what: str, files: tuple[int, ...] = ()) -> int:
        if self._channel is None:
            raise OSError("the server is gone")
        text = json.dumps({"do": do, "what": what}).encode()
        try:
            socket.send_fds(self._channel, [_LENGTH.pack(len(text))], files)
            self._channel.sendall(text)
            answer = self._channel.recv(_ANSWER.size, socket.MSG_WAITALL)
            return int(_ANSWER.unpack(answer)[0])
        except (OSError, struct.error) as error:
            log.error("reader_server.silent", error=type(error).__name__)  # noqa: TRY400 - what it did not answer is no trace
            self._let_server_go()
            raise OSError("the server is gone") from None

    def _let_server_go(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._server is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(1.0)
            self._server.kill()
            self._server.wait()
        self._server = self._channel = None


def _new_memory() -> int:
    if not hasattr(os, "memfd_create"):  # not Linux
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    memory = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    # A reader that was taken over by its stream could otherwise shrink what the parent looks at, which kills.
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return memory


def _told(state: int) -> str:
    return signal.Signals(state - _SIGNALLED).name if state >= _SIGNALLED else ""
