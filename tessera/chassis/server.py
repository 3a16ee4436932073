"""A gRPC server as every service runs it: health, reflection, limits, metrics, and an orderly end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import uvloop
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tessera.chassis.health import Health
from tessera.chassis.interceptors import RpcInterceptor
from tessera.chassis.limits import KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES
from tessera.chassis.logs import get_logger
from tessera.chassis.metrics import ServiceMetrics, serve_metrics
from tessera.chassis.tracing import Tracing
from tessera.domain.errors import InvalidInputError

LIVE = "live"
"""What health checks ask for who wants to know whether the process answers at all; a service that waits for its store
or drains does. To restart it then would not help."""

_HEARD_AFTER_S = 0.25
"""Who watches a server's health has sent his last call to it by then."""

_SERVER_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.http2.max_ping_strikes", 0),
    # Without it a second server on the same port would silently take half of the calls.
    ("grpc.so_reuseport", 0),
]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where a service listens and how long it waits."""

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and for metrics."""
    port: int = 0
    """gRPC; 0 lets the system choose."""
    metrics_port: int = 0
    """HTTP for /metrics; 0 lets the system choose."""
    max_deadline_s: float = 30.0
    """A unary call is ended after this, whatever its client asked for."""
    drain_s: float = 10.0
    """After SIGTERM, calls under way have so long to finish."""
    longer_s: Mapping[str, float] = field(default_factory=dict)
    """Unary methods that may take longer than `max_deadline_s`, such as `tessera.v1.EncoderService/Explain`."""


class Server:
    """One gRPC server with health, reflection and metrics.

    Args:
        settings: where it listens.
        metrics: the service's metrics; `metrics.ready` follows the health status.
        services: descriptors of the services it serves, such as `encoder_pb2.DESCRIPTOR.services_by_name[...]`: a name
            alone would not make sure that reflection can tell of it.
        add_servicers: puts the servicers on the grpc.aio server.
        tracing: makes a span for each call; none by default.
    """

    def __init__(
        self,
        settings: ServerSettings,
        metrics: ServiceMetrics,
        services: Sequence[ServiceDescriptor],
        add_servicers: Callable[[grpc.aio.Server], None],
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._names = ["", *(service.full_name for service in services)]
        self._add_servicers = add_servicers
        self._tracing = tracing or Tracing()
        self._health = Health()
        self._server: grpc.aio.Server | None = None
        self._page: Any = None
        self.port = 0
        self.metrics_port = 0

    async def start(self) -> None:
        """Listen. Health says NOT_SERVING until `set_ready(True)`.

        Raises:
            InvalidInputError: the address cannot be used, such as a port that another process has.
        """
        s = self._settings
        server = grpc.aio.server(
            interceptors=[RpcInterceptor(self._metrics, s.max_deadline_s, self._tracing, s.longer_s)],
            options=_SERVER_OPTIONS,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._add_servicers(server)
        reflection.enable_server_reflection([*self._names[1:], health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        await self.set_ready(False)
        await self._health.set(LIVE, health_pb2.HealthCheckResponse.SERVING)
        try:
            self.port = server.add_insecure_port(f"{s.host}:{s.port}")
        except RuntimeError:
            raise InvalidInputError(
                "port", f"{s.host}:{s.port}", "an address of this machine and a port that is free"
            ) from None
        try:
            self.metrics_port, self._page = serve_metrics(self._metrics.registry, s.host, s.metrics_port)
        except OSError as error:
            allowed = f"an address of this machine and a port that is free ({error.strerror})"
            raise InvalidInputError("metrics_port", f"{s.host}:{s.metrics_port}", allowed) from None
        await server.start()
        self._server = server

    async def set_ready(self, ready: bool) -> None:
        """Tell health checks whether this service takes work."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._names:
            await self._health.set(name, status)
        self._metrics.ready.set(int(ready))

    async def stop(self) -> None:
        """Not serving, drain, close; nothing when it does not listen."""
        server, self._server = self._server, None
        if server is None:
            return
        await self.set_ready(False)
        if self._health.is_watched:
            # A call that meets a server's end is cancelled, which nobody tries again: who watches hears of it first.
            await asyncio.sleep(min(_HEARD_AFTER_S, self._settings.drain_s))
        self._health.let_go()
        await server.stop(self._settings.drain_s)
        if self._page is not None:
            await asyncio.to_thread(self._page.shutdown)
            self._page.server_close()


async def wait_for_stop_signal() -> str:
    """Wait for SIGTERM or SIGINT; return its name."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[str] = loop.create_future()

    def stop(number: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(number.name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return await stopped


def run_service(main: Callable[[], Coroutine[Any, Any, None]], service: str) -> int:
    """Run a service's `main` on uvloop to its end.

    Returns:
        The exit code: 0, or 3 when a setting or an address was wrong (told in one line, without a traceback).
    """
    try:
        uvloop.run(main())
    except InvalidInputError as error:
        get_logger().error("start.refused", service=service, field=error.field, error=str(error))
        return 3
    return 0
