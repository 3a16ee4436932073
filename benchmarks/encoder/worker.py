"""Processes that do one thing at a time on request: an order as a line of JSON in, a line of JSON out.

Load generators and the bare pipeline are such processes: they share no interpreter with the scenario, start once,
and are idle while another one is measured.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self

from benchmarks.encoder.orders import Order, Tally, order_to_json
from benchmarks.figures import ROOT

START_LIMIT_S = 180.0
READY = {"ready": True}


class WorkerFailedError(Exception):
    """A worker ended, or did not answer in time."""


class Worker:
    """One such process.

    Args:
        module: run with `python -m`.
        arguments: for its command line.
        environ: on top of ours.
    """

    def __init__(self, module: str, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._environ = {**os.environ, **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            self._require_ready(self.answer(START_LIMIT_S))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it: the end of its input is its end."""
        self._end()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    def begin(self, told: Mapping[str, Any]) -> None:
        """Give an order; do not wait for the answer."""
        self._write(json.dumps(told))

    def stop(self) -> None:
        """Ask it to come to an end with what it does, and to answer."""
        self._write("stop")

    def kill(self) -> None:
        """kill -9, as a machine that loses power."""
        self._running().send_signal(signal.SIGKILL)
        self._running().wait()

    def answer(self, limit_s: float) -> dict[str, Any]:
        """Wait for the answer to the last order.

        Raises:
            WorkerFailedError: it ended, or did not answer within the limit.
        """
        out = self._running().stdout
        assert out is not None
        until_s = time.monotonic() + limit_s
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, until_s - time.monotonic())):
                    raise WorkerFailedError(f"{self._command[2]} did not answer within {limit_s:.0f} s")
                read = os.read(out.fileno(), 1 << 20)
                if not read:
                    raise WorkerFailedError(f"{self._command[2]} ended with code {self._running().wait()}")
                self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        told: dict[str, Any] = json.loads(line)
        return told

    def _end(self) -> None:
        process = self._running()
        if process.stdin is not None and not process.stdin.closed:
            with suppress(BrokenPipeError):  # it may be gone already
                process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _require_ready(self, told: dict[str, Any]) -> None:
        if told != READY:
            raise WorkerFailedError(f"{self._command[2]} began with {told}")

    def _write(self, line: str) -> None:
        into: IO[bytes] | None = self._running().stdin
        assert into is not None
        into.write(line.encode() + b"\n")
        into.flush()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise WorkerFailedError("not started")
        return self._process


class Load(Worker):
    """A load process.

    Args:
        address: of the service: `host:port`, or a gRPC target with several addresses.
    """

    def __init__(self, address: str) -> None:
        super().__init__("benchmarks.encoder.load", [address])

    def start(self, order: Order) -> None:
        """Begin to do it."""
        self.begin(order_to_json(order))

    def result(self, limit_s: float = 120.0) -> Tally:
        """What it saw; waits until it is done."""
        return Tally(**self.answer(limit_s))

    def ask(self, order: Order) -> Tally:
        """Do it and tell what was seen."""
        self.start(order)
        seconds = float(getattr(order, "seconds", 0.0)) + float(getattr(order, "warm_s", 0.0))
        return self.result(seconds + 300.0)
