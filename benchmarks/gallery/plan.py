"""What every scenario of the gallery is handed, and what it hands back.

`Story` is the encoder's: figures and notes. Where figures come out of a suite of tests, the tests write them into a
file that `read_told` reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.encoder.plan import Story

__all__ = ["COMMAND", "PREFIX", "Plan", "Story", "free_memory_gb", "in_rounds", "on_cores", "read_told"]

COMMAND = "make bench-gallery"
PREFIX = "TESSERA_GALLERY_"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure, and where."""

    quick: bool = False
    """For work on the benchmark itself: short, and nothing is kept."""
    server_cores: frozenset[int] = frozenset()
    """Processors of the gallery, its store and the bare index. Empty: all share all."""
    client_cores: frozenset[int] = frozenset()
    """Processors of those who call."""

    def seconds(self, whole: float, quick: float) -> float:
        """One of two durations."""
        return quick if self.quick else whole

    def count(self, whole: int, quick: int) -> int:
        """One of two numbers."""
        return quick if self.quick else whole


@contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """Processes that are started in the block run on these processors; none: wherever we may."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def in_rounds(measures: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Measure each of them once a round, in turn; each round begins with another one.

    Returns:
        What was measured: a list for each of them, in rounds.
    """
    measured: list[list[float]] = [[] for _ in measures]
    for at in range(rounds):
        for step in range(len(measures)):
            which = (at + step) % len(measures)
            measured[which].append(measures[which]())
    return measured


def read_told(path: Path) -> list[dict[str, Any]]:
    """What tests told, each in the file that TESSERA_CHAOS_RESULT names: one JSON list, or lines of JSON.

    A figure is `{"name": ..., "value": ..., "unit": ...}`, and may have `bar` (words) and `holds` (true or false).

    Returns:
        The figures in their order; empty where nobody told anything.

    Raises:
        ValueError: something in it is no such figure.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    try:
        told = [json.loads(text)] if text.strip() else []
    except json.JSONDecodeError:
        told = [json.loads(line) for line in text.splitlines() if line.strip()]
    figures = [figure for part in told for figure in (part if isinstance(part, list) else [part])]
    for figure in figures:
        if not isinstance(figure, dict) or not {"name", "value", "unit"} <= figure.keys():
            raise ValueError(f"a figure needs name, value and unit: {figure}")
    return figures


def free_memory_gb() -> float:
    """Memory that may be had without swapping, by the kernel's own estimate; within the limit of this container."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free_gb = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 2**20
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()) != "max":
        free_gb = min(free_gb, (int(text) - int(used.read_text(encoding="ascii"))) / 2**30)
    return free_gb
