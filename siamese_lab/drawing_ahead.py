"""Batches that are drawn while the network learns from the ones before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")

AHEAD = 3


def drawn_ahead(draw: Callable[[int], Batch], start: int, end: int) -> Iterator[tuple[int, Batch]]:
    """Draw batches on another thread while this one learns: `AHEAD` of them, and in order.

    Args:
        draw: makes the batch of a step.
        start: the first step.
        end: the step after the last.
    """
    waiting: deque[tuple[int, Future[Batch]]] = deque()
    with ThreadPoolExecutor(1, "batches") as drawing:
        for step in range(start, end):
            waiting.append((step, drawing.submit(draw, step)))
            if len(waiting) > AHEAD:
                first, batch = waiting.popleft()
                yield first, batch.result()
        while waiting:
            first, batch = waiting.popleft()
            yield first, batch.result()
