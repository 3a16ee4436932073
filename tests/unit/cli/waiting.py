"""Waiting for a condition with a limit, in place of sleeping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_STEP_S = 0.02


def wait_until(condition: Callable[[], object], limit_s: float = 40.0, what: str = "the condition") -> None:
    """Return as soon as the condition holds.

    Raises:
        AssertionError: it did not hold within the limit.
    """
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s, f"{what} did not come true within {limit_s} s"
        threading.Event().wait(_STEP_S)
