"""The fork server: it has loaded FFmpeg once, does nothing else, and so can fork a reader in milliseconds.

Fifty cameras that come back together do not import Python fifty times, and share the memory of what they run. The
server has one thread and never blocks but for its parent's next order; when its parent is gone, it kills its readers
and ends. When it is gone itself, the kernel kills them.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
from typing import NoReturn

import av.logging

import camera_ingest.sources.av_source  # noqa: F401 - loaded once, for every reader
from camera_ingest.reading.order import load_order
from camera_ingest.reading.reader import read

FORK, STATE, KILL = "fork", "state", "kill"
LENGTH = struct.Struct("!I")
_MAX_ORDER_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_MAX_DATA_BYTES = 2**30


class ForkServer:
    """Serves one parent.

    Args:
        channel: where its orders come from.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._readers: set[int] = set()

    def serve(self) -> None:
        """Obey until the parent is gone."""
        # A Ctrl-C goes to the whole group, a service's stop to all of its processes: the parent decides who ends when.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        av.logging.set_level(None)  # FFmpeg's own lines name URLs with their credentials
        gc.collect()
        gc.freeze()
        try:
            while self._serve_one():
                pass
        finally:
            for reader_id in self._readers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(reader_id, signal.SIGKILL)

    def _serve_one(self) -> bool:
        head, files, _, _ = socket.recv_fds(self._channel, LENGTH.size, 2)
        if len(head) < LENGTH.size:
            return False
        (length,) = LENGTH.unpack(head)
        text = self._channel.recv(min(length, _MAX_ORDER_BYTES), socket.MSG_WAITALL)
        if len(text) < length:
            return False
        order = json.loads(text)
        answer = {FORK: self._fork, STATE: self._state, KILL: self._kill}[order["do"]](order["what"], files)
        self._channel.sendall(struct.pack("!i", answer))
        return True

    def _fork(self, what: str, files: list[int]) -> int:
        """Fork a reader; answers its process id."""
        server_id = os.getpid()
        reader_id = os.fork()
        if reader_id == 0:
            self._channel.close()
            _become_reader(server_id, what, files)
        for file in files:
            os.close(file)
        self._readers.add(reader_id)
        return reader_id

    def _state(self, what: str, _: list[int]) -> int:
        """How a reader does: -1 while it runs, then once its exit code, or 1000 + the signal that ended it."""
        reader_id = int(what)
        if reader_id not in self._readers:
            return 0
        ended_id, status = os.waitpid(reader_id, os.WNOHANG)
        if ended_id == 0:
            return -1
        self._readers.remove(reader_id)
        return 1000 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _kill(self, what: str, _: list[int]) -> int:
        """Kill a reader; one that was seen to end is none any more, whoever has its id now."""
        if int(what) in self._readers:
            os.kill(int(what), signal.SIGKILL)
        return 0


def _become_reader(server_id: int, what: str, files: list[int]) -> NoReturn:
    code = 1
    try:
        order = load_order(what.encode())
        _tie_to(server_id, order.camera_id)
        # A core would hold credentials; a decoder that asks for gigabytes loses its camera, not the machine.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if not order.stream.hardware_decode:  # drivers reserve far more than they use
            resource.setrlimit(resource.RLIMIT_DATA, (_MAX_DATA_BYTES, _MAX_DATA_BYTES))
        with socket.socket(fileno=files[0]) as channel:
            read(order, channel, files[1])
        code = 0
    finally:
        os._exit(code)  # never back into the server's loop


def _tie_to(server_id: int, camera_id: str) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NAME, f"read {camera_id}"[:15].encode(), 0, 0, 0)
    if os.getppid() != server_id:
        os._exit(1)  # the server died before the tie was made
