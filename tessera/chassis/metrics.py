"""Metrics: each service declares its own in its `metrics.py`; here is what all of them have, and the page."""

from __future__ import annotations

import platform
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from tessera import __version__

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


class ServiceMetrics:
    """What every service counts.

    Args:
        registry: where the metrics are declared; a service has one, a test makes its own.
        service: the service's name, in `tessera_build_info`.
    """

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        build = Gauge(
            "tessera_build_info",
            "Always 1; the labels say what runs.",
            ["service", "version", "python"],
            registry=registry,
        )
        build.labels(service, __version__, platform.python_version()).set(1)
        self.ready = Gauge(
            "tessera_ready",
            "1 while the service takes work. 0 for long: look at its log for what it waits for.",
            registry=registry,
        )
        self.rpc_started = Counter(
            "grpc_server_started_total",
            "RPCs begun.",
            ["grpc_service", "grpc_method"],
            registry=registry,
        )
        self.rpc_handled = Counter(
            "grpc_server_handled_total",
            "RPCs ended, by status code; a stream counts once, when it ends.",
            ["grpc_service", "grpc_method", "grpc_code"],
            registry=registry,
        )
        self.rpc_seconds = Histogram(
            "grpc_server_handling_seconds",
            "Time from the start of an RPC to its end.",
            ["grpc_service", "grpc_method"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )


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
