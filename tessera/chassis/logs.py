"""Logs: an event name and keys. Never pixels, embeddings, names of people, or credentials."""

from __future__ import annotations

import logging
import sys

import structlog


def configure_logs(service: str, as_json: bool | None = None, level: str = "info") -> None:
    """Set up logs for this process, on standard error.

    Args:
        service: named in each line.
        as_json: one JSON object a line; None: JSON unless standard error is a terminal.
        level: `debug`, `info`, `warning` or `error`.
    """
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _with_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)


def _with_trace(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Name the trace that the line belongs to, where there is one that is kept.

    A process that has not imported traces has none: a camera's reader stays as small as it is.
    """
    tracing = sys.modules.get("tessera.chassis.tracing")
    told = tracing.current_span().exemplar() if tracing is not None else None
    return {**event, **told} if told else event


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """A logger: `log.info("camera.lost", camera=..., reason=...)`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
