"""Camera workers as processes, for tests in which several of them, or something that kills, are needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc

from tessera.chassis.channel import open_blocking_channel
from tessera.chassis.ports import free_port
from tessera.v1 import camera_pb2 as pb
from tessera.v1.camera_pb2_grpc import CameraServiceStub

LIMIT_S = 60.0

T = TypeVar("T")


def eventually(ask: Callable[[], T], limit_s: float = LIMIT_S) -> T:
    """Ask until the answer is true; a worker that does not answer yet says no."""
    until_s = time.monotonic() + limit_s
    while True:
        try:
            answer = ask()
        except grpc.RpcError:
            answer = None
        if answer:
            return answer
        assert time.monotonic() < until_s, f"not within {limit_s:g} s"
        time.sleep(0.05)


@dataclass
class Worker:
    """One camera_ingest process."""

    environ: dict[str, str]
    log: Path
    stack: ExitStack
    port: int = field(default_factory=free_port)
    child: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Worker:
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "camera_ingest"],
                env=os.environ | self.environ | {"TESSERA_INGEST_PORT": str(self.port)},
                stdout=log,
                stderr=log,
            )
        self.stub = CameraServiceStub(self.stack.enter_context(open_blocking_channel(self.address)))
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self.child is not None
        self.child.send_signal(number)

    def end(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
            self.child.wait(LIMIT_S)

    def listed(self) -> dict[str, pb.CameraStatus]:
        entries = self.stub.ListCameras(pb.ListCamerasRequest(), timeout=10).entries
        return {entry.camera.camera_id: entry.status for entry in entries}

    def own(self) -> set[str]:
        """The cameras that it says it watches."""
        return {key for key, status in self.listed().items() if status.worker_address == self.address}
