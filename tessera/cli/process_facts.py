"""What the operating system knows of a process: how long it has lived, how much memory it holds."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil  # type: ignore[import-untyped]  # ships no types


def lived_s() -> float:
    """Seconds since this process started, the interpreter's own start included."""
    return max(0.0, time.time() - float(psutil.Process().create_time()))


def memory_bytes(process_id: int) -> int:
    """Resident memory of a process and its children; 0 when it is gone."""
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(process_id)
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    return total
