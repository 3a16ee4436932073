"""`python -m benchmarks.operations.switched_encoder`: an encoder whose counting and tracing a signal switches.

Two processes of the same program differ by some percent of their processor time for reasons of their own, more than
what is looked for: one process is compared with itself.
"""

from __future__ import annotations

import runpy
import signal
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from tessera.chassis.opentelemetry_tracing import OpenTelemetryTracing
from tessera.chassis.tracing import OFF, Span

NEITHER, METRICS, BOTH = signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP

_COUNTING: dict[type[Any], tuple[str, ...]] = {
    Counter: ("inc",),
    Gauge: ("inc", "dec", "set", "set_to_current_time"),
    Histogram: ("observe",),
}
_TRACING = ("call", "frame")


def _nothing(*_: object, **__: object) -> None:
    """Count nothing."""


def _no_span(*_: object, **__: object) -> Span:
    return OFF


def _switches() -> dict[signal.Signals, Callable[[], None]]:
    counting = [(kind, name, getattr(kind, name)) for kind, names in _COUNTING.items() for name in names]
    tracing = [(name, getattr(OpenTelemetryTracing, name)) for name in _TRACING]

    def switch(counts: bool, traces: bool) -> None:
        for kind, name, real in counting:
            setattr(kind, name, real if counts else _nothing)
        for name, real in tracing:
            setattr(OpenTelemetryTracing, name, real if traces else _no_span)

    return {
        NEITHER: lambda: switch(False, False),
        METRICS: lambda: switch(True, False),
        BOTH: lambda: switch(True, True),
    }


if __name__ == "__main__":
    for number, switched in _switches().items():
        signal.signal(number, lambda *_, switched=switched: switched())
    runpy.run_module("encoder_svc", run_name="__main__")
