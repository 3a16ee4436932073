"""Counts RPCs as the `grpc_server_...` metrics tell of them: each once, when it ends, with the code that it ended with.

A stream that its client ended by having sent all is OK. One whose client's time was over is DEADLINE_EXCEEDED, though
gRPC cancels its handler like that of any client that went away, which is CANCELLED.
"""

from __future__ import annotations

import asyncio
import time

import grpc
from prometheus_client import Counter

from tessera.chassis.metrics import Children, ServiceMetrics
from tessera.chassis.tracing import Span

_SLACK_SHARE = 0.02
_SLACK_S = 0.05
"""A client's own clock ends its call so much before the deadline that was sent: gRPC sends it rounded up, and late."""


class CountedMethod:
    """A method and what counts its calls.

    Args:
        metrics: where they are.
        path: as gRPC names it, such as `/tessera.v1.GalleryService/Verify`.
    """

    def __init__(self, metrics: ServiceMetrics, path: str) -> None:
        _, service, method = path.split("/", 2)
        self.name = f"{service}/{method}"
        self.started = metrics.rpc_started.labels(service, method)
        self.seconds = metrics.rpc_seconds.labels(service, method)
        self._handled = Children(metrics.rpc_handled)
        self._labels = service, method

    def handled(self, code: grpc.StatusCode) -> Counter:
        """What counts the calls that ended so."""
        return self._handled.of(*self._labels, code.name)


class CountedCall:
    """Counts one RPC when it ends, whatever ended it, and tells its span how.

    Args:
        method: that was called.
        span: of the call.
        context: of the call.
    """

    def __init__(self, method: CountedMethod, span: Span, context: grpc.aio.ServicerContext[object, object]) -> None:
        self._method = method
        self._span = span
        self._context = context
        self._started_s = 0.0
        self._budget_s: float | None = None
        self.code = grpc.StatusCode.OK

    def __enter__(self) -> CountedCall:
        self._method.started.inc()
        self._started_s = time.monotonic()
        self._budget_s = self._context.time_remaining()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        took_s = time.monotonic() - self._started_s
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.code = self._cancelled(took_s)
        elif error is None and self.code is grpc.StatusCode.OK:
            set_by_handler: grpc.StatusCode | None = self._context.code()  # None, whatever its stub says
            if set_by_handler is not None:
                self.code = set_by_handler
        self._method.handled(self.code).inc()
        self._method.seconds.observe(took_s, self._span.exemplar())
        self._span.ended_with(self.code)

    def _cancelled(self, took_s: float) -> grpc.StatusCode:
        budget_s = self._budget_s
        is_late = budget_s is not None and took_s >= budget_s * (1.0 - _SLACK_SHARE) - _SLACK_S
        return grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
