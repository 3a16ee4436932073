"""What a scenario reads of a running service from outside: its metrics page and its memory."""

from __future__ import annotations

import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Page:
    """What /metrics said at one moment."""

    samples: tuple[tuple[str, dict[str, str], float], ...]
    read_s: float
    """Monotonic."""

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series that have these labels; 0 when there is none."""
        return sum(value for sample, has, value in self.samples if sample == name and labels.items() <= has.items())

    def values_of(self, name: str, label: str) -> set[str]:
        """Which values a label has."""
        return {has[label] for sample, has, _ in self.samples if sample == name and label in has}


def read_page(metrics_port: int) -> Page:
    """What /metrics says now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        samples = tuple((s.name, dict(s.labels), float(s.value)) for family in families for s in family.samples)
    return Page(samples, time.monotonic())


def rise(before: Page, after: Page, name: str, **labels: str) -> float:
    """How much a counter grew."""
    return after.total(name, **labels) - before.total(name, **labels)


def mean_between(before: Page, after: Page, histogram: str, **labels: str) -> float | None:
    """The mean of what a histogram observed between two readings; None when it observed nothing."""
    count = rise(before, after, f"{histogram}_count", **labels)
    return rise(before, after, f"{histogram}_sum", **labels) / count if count else None


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process; `VmHWM` is its peak since `reset_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/status has no {field}")


def reset_peak(pid: int) -> None:
    """Let the peak of a process' memory begin anew from what it has now (proc(5), clear_refs, 5)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


class MemoryRecord:
    """Reads the memory of a process once a second while the block runs.

    Args:
        pid: of the process.
        every_s: how often.
    """

    def __init__(self, pid: int, every_s: float = 1.0) -> None:
        self._pid = pid
        self._every_s = every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.minutes: list[float] = []
        self.mb: list[float] = []

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        started_s = time.monotonic()
        while not self._done.wait(self._every_s):
            self.mb.append(memory_mb(self._pid))
            self.minutes.append((time.monotonic() - started_s) / 60)
