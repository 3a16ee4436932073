"""Clients that call at a steady pace, whatever comes back, and keep what came of each call and when."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Call = Callable[[], object]


@dataclass(slots=True)
class Outcomes:
    """What came of the calls."""

    done: list[tuple[float, float, str]] = field(default_factory=list)
    """When each was answered, how long it took in seconds, and the name of its error; empty: it was good."""

    @property
    def failed(self) -> Counter[str]:
        """Failed calls by error."""
        return Counter(error for _, _, error in self.done if error)

    def good_at(self) -> list[float]:
        """When the good ones were answered, in order."""
        return sorted(at_s for at_s, _, error in self.done if not error)

    def back_after_s(self, fault_s: float, rate_hz: float, share: float = 0.9) -> float:
        """Seconds from a fault to the beginning of the first second in which the good answers are as many again.

        Args:
            fault_s: when it was.
            rate_hz: calls that are begun in a second.
            share: of them that must be answered well within a second.
        """
        good = self.good_at()
        for step in range(3000):
            begin_s = fault_s + step / 100
            if sum(begin_s <= at_s < begin_s + 1.0 for at_s in good) >= share * rate_hz:
                return step / 100
        return float("inf")


@contextmanager
def calling(calls: Sequence[Call], rate_hz: float, threads: int = 8) -> Iterator[Outcomes]:
    """Begin calls at a steady rate, one kind after the other, until the block ends."""
    outcomes, stopped, numbers, begun_s = Outcomes(), threading.Event(), itertools.count(), time.monotonic()

    def work() -> None:
        for number in numbers:
            if stopped.wait(max(0.0, begun_s + number / rate_hz - time.monotonic())):
                return
            at_s, error = time.monotonic(), ""
            try:
                calls[number % len(calls)]()
            except Exception as failure:  # noqa: BLE001 - whatever it is, it is counted
                error = f"{type(failure).__name__}: {failure}"[:160]
            now_s = time.monotonic()
            outcomes.done.append((now_s, now_s - at_s, error))

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield outcomes
    finally:
        stopped.set()
        for worker in workers:
            worker.join(timeout=30)
