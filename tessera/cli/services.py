"""How `tessera up` runs each service: its command, its settings, and the question whether it is ready."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tessera.chassis.channel import open_blocking_channel
from tessera.chassis.ports import HOST
from tessera.cli.child import ChildSpec
from tessera.cli.instance_keys import InstanceKeys
from tessera.cli.ports import Ports
from tessera.cli.valkey import DURABILITY

_CONNECT_LIMIT_S = 0.2
_HEALTH_LIMIT_S = 1.0


class HealthProbe:
    """Asks one service over grpc.health.v1 whether it takes work.

    Args:
        port: of the service, on this machine.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._channel: grpc.Channel | None = None

    def __call__(self) -> bool:
        """Whether it is there and says SERVING."""
        if not self._listens():
            return False
        self._channel = self._channel or open_blocking_channel(f"{HOST}:{self._port}")
        try:
            stub = health_pb2_grpc.HealthStub(self._channel)
            response = stub.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_LIMIT_S)
        except grpc.RpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def _listens(self) -> bool:
        """Cheaper than a call, and without the pauses that a channel makes after refused connections."""
        try:
            socket.create_connection((HOST, self._port), timeout=_CONNECT_LIMIT_S).close()
        except OSError:
            return False
        return True


def service_specs(
    ports: Ports, store_url: str, log_dir: Path, keys: InstanceKeys, targets: Path | None = None
) -> tuple[ChildSpec, ...]:
    """The services in the order in which frames, and what comes of them, pass them; they may start in parallel."""
    encoder, gallery = f"{HOST}:{ports.encoder}", f"{HOST}:{ports.gallery}"
    return (
        _spec("encoder", "encoder_svc", (ports.encoder, ports.encoder_metrics), log_dir, {}),
        _spec(
            "gallery",
            "gallery_svc",
            (ports.gallery, ports.gallery_metrics),
            log_dir,
            {
                "ENCODER": encoder,
                "STORE": store_url,
                "KEYS": str(keys.kek),
                "SIGNING_KEY": str(keys.signing),
                "AUDIT_DIR": str(keys.audit),
                "DURABILITY": DURABILITY,
                "MIGRATE": "auto",
            },
        ),
        _spec(
            "ingest",
            "camera_ingest",
            (ports.ingest, ports.ingest_metrics),
            log_dir,
            {
                "ENCODER_ADDRESS": encoder,
                "GALLERY_ADDRESS": gallery,
                "STORE_URL": store_url,
                "EVIDENCE_DIR": str(keys.evidence.parent.parent / "evidence"),
                "EVIDENCE_KEYS": str(keys.evidence),
            },
        ),
        _spec(
            "gateway",
            "gateway_svc",
            (ports.gateway, ports.gateway_metrics),
            log_dir,
            {
                "GALLERY_ADDRESS": gallery,
                "INGEST_ADDRESS": f"{HOST}:{ports.ingest}",
                "STORE_URL": store_url,
                **({"TARGETS": str(targets)} if targets else {}),
            },
        ),
    )


def _spec(name: str, package: str, ports: tuple[int, int], log_dir: Path, settings: dict[str, str]) -> ChildSpec:
    port, metrics_port = ports
    settings = {"HOST": HOST, "PORT": str(port), "METRICS_PORT": str(metrics_port), **settings}
    prefix = f"TESSERA_{name.upper()}_"
    return ChildSpec(
        name=name,
        # -P: the folder that the user stands in is not searched for modules.
        command=(sys.executable, "-P", "-m", package),
        log_path=log_dir / f"{name}.log",
        is_ready=HealthProbe(port),
        environ={prefix + key: value for key, value in settings.items()},
        address=f"{HOST}:{port}",
        metrics_url=f"http://{HOST}:{metrics_port}/metrics",
    )
