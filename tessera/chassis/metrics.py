"""Metrics: each service declares its own in its `metrics.py`; here is what all of them have, and the page."""

from __future__ import annotations

import platform
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from tessera import __version__
from tessera.chassis.catalogue import Theme, counter, gauge, histogram

Metric = TypeVar("Metric", Counter, Gauge, Histogram)

LATENCY_BUCKETS_S = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.02,
    0.035,
    0.05,
    0.075,
    0.1,
    0.15,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
"""From a comparison to a hopeless queue; dense around the budgets (35 ms embed, 120-150 ms verify, 500 ms decision)."""


class ServiceMetrics(Theme):
    """What every service counts.

    Args:
        registry: where the metrics are declared; a service has one, a test makes its own.
        service: the service's name, in `tessera_build_info`.
    """

    build_info = gauge(
        "tessera_build_info",
        "Always 1; the labels say what runs.",
        "Several versions of one service for longer than a rolling update takes: it stopped half-way.",
        labels=("service", "version", "python"),
    )
    ready = gauge("tessera_ready", "1 while the service takes work.", "0 for long: its log says what it waits for.")
    rpc_started = counter(
        "grpc_server_started_total",
        "RPCs begun.",
        "Nothing by itself; less grpc_server_handled_total it is the RPCs under way.",
        labels=("grpc_service", "grpc_method"),
    )
    rpc_handled = counter(
        "grpc_server_handled_total",
        "RPCs ended, by status code; a stream counts once, when it ends.",
        "INTERNAL and UNKNOWN are defects: the log has each under its incident id. UNAVAILABLE, RESOURCE_EXHAUSTED and "
        "DEADLINE_EXCEEDED: what this service stands on is away, or it has too much to do. Others: the caller's.",
        labels=("grpc_service", "grpc_method", "grpc_code"),
    )
    rpc_seconds = histogram(
        "grpc_server_handling_seconds",
        "Time from the start of an RPC to its end.",
        "Slow: an exemplar has the trace id of a call; its trace says which part took the time.",
        labels=("grpc_service", "grpc_method"),
        buckets=LATENCY_BUCKETS_S,
    )

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        super().__init__(registry)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.build_info.labels(service, __version__, platform.python_version()).set(1)


class Children(Generic[Metric]):
    """A metric's children by their label values, each looked up once: `labels()` takes longer than to count.

    For a metric none of whose children is ever removed: one that is would be counted here and told nowhere.

    Args:
        metric: with labels.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric: Metric = metric
        self._known: dict[tuple[str, ...], Metric] = {}

    def of(self, *values: str) -> Metric:
        """The child with these label values, in the metric's order."""
        child = self._known.get(values)
        if child is None:
            child = self._known[values] = self._metric.labels(*values)
        return child


def serve_metrics(registry: CollectorRegistry, host: str, port: int) -> tuple[int, object]:
    """Serve /metrics on a thread of its own.

    Args:
        port: 0 lets the system choose.

    Returns:
        (port, server): the port that is served; the server, whose `shutdown()` and `server_close()` end it.
    """
    server, _thread = start_http_server(port, addr=host, registry=registry)
    return int(server.server_port), server
