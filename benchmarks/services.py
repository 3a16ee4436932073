"""Real services for a scenario: started as processes on ports that are free, ended with their process groups."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.process_group import server_group
from tessera.chassis.ports import free_port

READY_S, END_S = 120.0, 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    address: str
    metrics_port: int
    pid: int
    process: subprocess.Popen[bytes]
    """For scenarios that end it themselves."""


@contextmanager
def service(module: str, prefix: str, settings: Mapping[str, str]) -> Iterator[Service]:
    """Run `python -m module` until the block ends.

    Args:
        module: such as `encoder_svc`.
        prefix: of its settings, such as `TESSERA_ENCODER_`.
        settings: by name without the prefix; ports are chosen here.
    """
    address, metrics_port = f"127.0.0.1:{free_port()}", free_port()
    ours = {**settings, "PORT": address.rpartition(":")[2], "METRICS_PORT": str(metrics_port)}
    environ = {prefix + name: value for name, value in ours.items()}
    command = [sys.executable, "-m", module]
    with server_group(module, command, environ, partial(wait_ready, address), grace_s=END_S) as process:
        yield Service(address, metrics_port, process.pid, process)


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
