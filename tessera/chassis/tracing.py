"""Traces: where the time of one call went, across services. Off unless OpenTelemetry's own variables switch it on.

While it is off every span here is the same one, which does nothing, and OpenTelemetry is not even imported. A span
never tells who it was about: no id of a person, a picture or a template, no error's text.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TypeAlias

import grpc

from tessera.chassis.logs import get_logger
from tessera.domain.errors import InvalidInputError

Attributes: TypeAlias = Mapping[str, str | int | float | bool]
"""Sizes, counts, stages, devices; nothing that names anybody."""

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

TRACEPARENT = "traceparent"
"""The key in a call's metadata: https://www.w3.org/TR/trace-context/."""

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORTER = "OTEL_TRACES_EXPORTER"
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_IMPLEMENTATION = "tessera.chassis.opentelemetry_tracing"


class Span:
    """One piece of work and its time; this one tells nobody. `with` makes it the current one."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    def end(self) -> None:
        """It is over, and was never the current one."""

    def set(self, key: str, value: str | float | bool) -> None:
        """Tell one more attribute."""

    def ended_with(self, code: grpc.StatusCode) -> None:
        """Tell how the call ended."""

    def record(self, name: str, start_s: float, end_s: float, attributes: Attributes | None = None) -> None:
        """Add a span below this one, after the fact.

        Args:
            name: such as `detect`.
            start_s: on `time.monotonic()`.
            end_s: on `time.monotonic()`.
            attributes: such as the size of the batch.
        """

    def exemplar(self) -> dict[str, str] | None:
        """What a metric tells of one call that it counted: the id of its trace; None: it has none that was kept."""
        return None

    def traceparent(self) -> str | None:
        """How another process says that its spans stand below this one; None: there is nothing to stand below."""
        return None


OFF = Span()
"""What every span is while traces are off."""

CURRENT: ContextVar[Span] = ContextVar("tessera_span", default=OFF)


class Tracing:
    """Makes spans; this one makes none. One for each process, handed to its server and its channels."""

    on = False
    """Whether spans go anywhere."""

    @staticmethod
    def from_environment(service: str, environ: Mapping[str, str] | None = None) -> Tracing:
        """What OpenTelemetry's variables ask for.

        Args:
            service: such as `encoder`; the spans' `service.name` is `tessera-encoder` unless OTEL_SERVICE_NAME is set.
            environ: the process's environment by default.

        Raises:
            InvalidInputError: an exporter or a protocol is asked for that is not there.
        """
        environ = os.environ if environ is None else environ
        exporter = _exporter(environ)
        if exporter == "none":
            return Tracing()
        for name in PROTOCOLS:
            if environ.get(name, "grpc") != "grpc":
                raise InvalidInputError(name, environ[name], "grpc")
        try:
            implementation = importlib.import_module(_IMPLEMENTATION)
        except ImportError as error:
            # Some clusters set the variables in every container: that must not keep a service from starting.
            get_logger().warning("tracing.not_installed", missing=error.name, extra="tessera[tracing]")
            return Tracing()
        made: Tracing = implementation.exporting(environ.get("OTEL_SERVICE_NAME") or f"tessera-{service}", exporter)
        return made

    def call(self, method: str, metadata: Metadata | None) -> Span:
        """The span of a call that this process serves.

        Args:
            method: with its service, such as `tessera.v1.EncoderService/Encode`.
            metadata: of the call; with a `traceparent` its span stands below the caller's.
        """
        return OFF

    def frame(self, name: str, traceparent: str | None = None) -> Span:
        """The span of one frame: a trace of its own that links to its stream's call, which may last for days.

        Args:
            name: such as `frame`.
            traceparent: where it came from; then it stands below that.
        """
        return OFF

    def close(self) -> None:
        """Send what is left, for two seconds at most. Blocks."""


@asynccontextmanager
async def open_tracing(service: str) -> AsyncIterator[Tracing]:
    """The traces of a process, from its environment; at the end what is left is sent.

    Raises:
        InvalidInputError: an exporter or a protocol is asked for that is not there.
    """
    tracing = Tracing.from_environment(service)
    try:
        yield tracing
    finally:
        if tracing.on:
            await asyncio.to_thread(tracing.close)


def current_span() -> Span:
    """The span of the call or frame that this task works on; one that does nothing when there is none."""
    return CURRENT.get()


def record(name: str, start_s: float, end_s: float, attributes: Attributes | None = None) -> None:
    """Add a span below the current one, after the fact; see `Span.record`."""
    CURRENT.get().record(name, start_s, end_s, attributes)


def _exporter(environ: Mapping[str, str]) -> str:
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return "none"
    asked = environ.get(EXPORTER, "")
    if asked not in {"", "otlp", "console", "none"}:
        raise InvalidInputError(EXPORTER, asked, "otlp, console, none")
    return asked or ("otlp" if any(environ.get(name) for name in ENDPOINTS) else "none")
