"""Real services for a scenario: started as processes on ports that are free, stopped by their process ids."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.figures import ROOT

READY_S = 120.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    address: str
    metrics_port: int
    pid: int
    process: subprocess.Popen[bytes]
    """For scenarios that end it themselves."""


def free_port() -> int:
    """A TCP port of the loopback address that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def service(module: str, prefix: str, settings: Mapping[str, str]) -> Iterator[Service]:
    """Run `python -m module` until the block ends.

    Args:
        module: such as `encoder_svc`.
        prefix: of its settings, such as `TESSERA_ENCODER_`.
        settings: by name without the prefix; ports are chosen here.
    """
    port, metrics_port = free_port(), free_port()
    ours = {**settings, "PORT": str(port), "METRICS_PORT": str(metrics_port)}
    environ = {**os.environ, **{prefix + name: value for name, value in ours.items()}}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, env=environ, stderr=log, stdout=log)
        try:
            if not wait_ready(f"127.0.0.1:{port}", process):
                log.seek(0)
                raise RuntimeError(f"{module} did not get ready:\n{log.read().decode()[-2000:]}")
            yield Service(f"127.0.0.1:{port}", metrics_port, process.pid, process)
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_ready(address: str, process: subprocess.Popen[bytes], limit_s: float = READY_S) -> bool:
    """Wait until the service says SERVING; False when it ended or the limit passed."""
    until_s = time.monotonic() + limit_s
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while time.monotonic() < until_s and process.poll() is None:
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0, wait_for_ready=True)
            except grpc.RpcError:
                continue
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return True
            time.sleep(0.05)
    return False


def data_folder() -> Path:
    """The evaluation data that TESSERA_DATA names.

    Raises:
        SystemExit: the variable is not set, or names no folder.
    """
    folder = Path(os.environ.get("TESSERA_DATA", ""))
    if not os.environ.get("TESSERA_DATA") or not folder.is_dir():
        raise SystemExit("TESSERA_DATA must name the folder with the evaluation data (see docs/evaluation.md)")
    return folder
