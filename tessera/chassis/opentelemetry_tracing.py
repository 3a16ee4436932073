"""Traces with OpenTelemetry's SDK: imported only when they are on, and only where the extra `tracing` is installed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextvars import Token
from types import TracebackType

import grpc
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tessera.chassis.logs import get_logger
from tessera.chassis.tracing import CURRENT, OFF, TRACEPARENT, Attributes, Metadata, Span, Tracing

_LAST_SPANS_MS = 2_000
_WELL_KNOWN = ("grpc.",)
"""Health checks and reflection: many, and nobody asks where their time went."""

# What a server answers for by OpenTelemetry's conventions for gRPC. A caller's own mistake is no error of the server.
_SERVER_ERRORS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}
_PROPAGATOR = TraceContextTextMapPropagator()
_NAME = "tessera"
_SCOPE = InstrumentationScope(_NAME)


def exporting(service_name: str, exporter: str) -> Tracing:
    """Traces that go to where OpenTelemetry's variables say.

    Args:
        service_name: the spans' `service.name`.
        exporter: `otlp` or `console`.
    """
    _log_as_events()
    provider = TracerProvider(resource=Resource.create({"service.name": service_name}), shutdown_on_exit=False)
    to = ConsoleSpanExporter() if exporter == "console" else OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(to))
    return OpenTelemetryTracing(provider)


class OpenTelemetryTracing(Tracing):
    """Spans through a provider.

    Args:
        provider: knows the sampler and where spans go.
    """

    on = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_NAME)

    def call(self, method: str, metadata: Metadata | None) -> Span:
        """The span of a call that this process serves."""
        if method.startswith(_WELL_KNOWN):
            return OFF
        service, _, name = method.rpartition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        parent = next((value for key, value in metadata or () if key == TRACEPARENT), None)
        return _OpenSpan(self._tracer, method, _context(parent), kind=SpanKind.SERVER, attributes=attributes)

    def frame(self, name: str, traceparent: str | None = None) -> Span:
        """The span of one frame of a stream."""
        stream = CURRENT.get()
        links = [Link(stream.sdk.get_span_context())] if isinstance(stream, _OpenSpan) else []
        return _OpenSpan(self._tracer, name, _context(traceparent), kind=SpanKind.CONSUMER, links=links)

    def close(self) -> None:
        """Send what is left, for two seconds at most. Blocks."""
        self._provider.force_flush(_LAST_SPANS_MS)
        self._provider.shutdown()


class _OpenSpan(Span):
    """A span that is under way; it begins when it is made."""

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        parent: Context,
        *,
        kind: SpanKind,
        attributes: Attributes | None = None,
        links: list[Link] | None = None,
    ) -> None:
        self._tracer = tracer
        # Taken for each span anew: the machine's time of day may be set while a process runs for months.
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self.sdk: SdkSpan = tracer.start_span(
            name, parent, kind, dict(attributes or {}), links, start_time=self._wall_ns(time.monotonic())
        )
        self._before: Token[Span] | None = None

    def __enter__(self) -> Span:
        self._before = CURRENT.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The error's type alone: its text may name a subject.
        if error is not None and not isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.sdk.set_status(Status(StatusCode.ERROR, type(error).__name__))
        self.sdk.end(self._wall_ns(time.monotonic()))
        if self._before is not None:
            # A stream that nobody read to its end is closed in another context than it began in.
            with contextlib.suppress(ValueError):
                CURRENT.reset(self._before)

    def end(self) -> None:
        self.sdk.end(self._wall_ns(time.monotonic()))

    def set(self, key: str, value: str | float | bool) -> None:
        self.sdk.set_attribute(key, value)

    def ended_with(self, code: grpc.StatusCode) -> None:
        self.sdk.set_attribute("rpc.grpc.status_code", code.value[0])
        if code in _SERVER_ERRORS:
            self.sdk.set_status(Status(StatusCode.ERROR, code.name))

    def record(self, name: str, start_s: float, end_s: float, attributes: Attributes | None = None) -> None:
        if not self.sdk.is_recording():
            return
        # It is over already: made whole it costs a fraction of a span that is begun and ended; each picture has eight.
        tracer = self._tracer
        if not isinstance(tracer, SdkTracer):
            return
        parent = self.sdk.get_span_context()
        own_id = tracer.id_generator.generate_span_id()
        context = SpanContext(parent.trace_id, own_id, False, parent.trace_flags, parent.trace_state)
        child = ReadableSpan(
            name,
            context,
            parent,
            tracer.resource,
            dict(attributes or {}),
            start_time=self._wall_ns(start_s),
            end_time=self._wall_ns(end_s),
            instrumentation_scope=_SCOPE,
        )
        tracer.span_processor.on_end(child)

    def exemplar(self) -> dict[str, str] | None:
        told = self.sdk.get_span_context()
        return {"trace_id": format_trace_id(told.trace_id)} if told.trace_flags.sampled else None

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, set_span_in_context(self.sdk, Context()))
        return carrier.get(TRACEPARENT)

    def _wall_ns(self, monotonic_s: float) -> int:
        return self._epoch_ns + round(monotonic_s * 1e9)


def _context(traceparent: str | bytes | None) -> Context:
    """The context below a caller's span; an empty one when there is none, or it is not well formed."""
    if not isinstance(traceparent, str):
        return Context()
    return _PROPAGATOR.extract({TRACEPARENT: traceparent}, Context())


class _AsEvents(logging.Handler):
    """What OpenTelemetry logs, such as that its collector is away, as an event of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        get_logger().warning("tracing.trouble", source=record.name, detail=record.getMessage())


def _log_as_events() -> None:
    logger = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _AsEvents) for handler in logger.handlers):
        logger.addHandler(_AsEvents(logging.WARNING))
        logger.propagate = False
