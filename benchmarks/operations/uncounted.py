"""`python -m benchmarks.operations.uncounted`: an encoder that counts nothing, to see what counting costs."""

from __future__ import annotations

import runpy

from prometheus_client import Counter, Gauge, Histogram


def _nothing(*_: object, **__: object) -> None:
    """Count nothing."""


if __name__ == "__main__":
    counting = {Counter: ("inc",), Gauge: ("inc", "dec", "set", "set_to_current_time"), Histogram: ("observe",)}
    for kind, methods in counting.items():
        for method in methods:
            setattr(kind, method, _nothing)
    runpy.run_module("encoder_svc", run_name="__main__")
