"""Whose work the device does next: one thread per device, a bounded queue per class, nobody starves.

Work that expired or was cancelled while it waited is dropped when its turn comes. The scheduler knows nothing of
pictures; later versions batch across the queues here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from encoder_svc.metrics import EncoderMetrics
from tessera.chassis.clock import Clock
from tessera.domain.errors import ExpiredError, OverloadedError, UnavailableError

T = TypeVar("T")


class WorkClass(StrEnum):
    """Who waits for the answer; the order is the order of precedence."""

    INTERACTIVE = "interactive"
    """Somebody stands at a door."""
    ENROLMENT = "enrolment"
    """Somebody enrols people."""
    STREAM = "stream"
    """A camera looks on."""


class OverflowPolicy(StrEnum):
    """What a full queue does with one more."""

    REFUSE_NEWEST = "refuse_newest"
    """The caller is told at once, and may go elsewhere."""
    DROP_OLDEST = "drop_oldest"
    """The newest frame is worth most."""


@dataclass(frozen=True, slots=True)
class QueueRule:
    """How one class waits."""

    limit: int
    """Pieces of work that may wait."""
    overflow: OverflowPolicy
    every_nth: int
    """While it has work, at least every n-th turn is its own, whatever precedes it."""


@dataclass(slots=True, eq=False)
class _Work:
    run: Callable[[], Any]
    future: Future[Any]
    expires_at_s: float | None


class Scheduler:
    """Runs work on one thread that it owns.

    Args:
        rules: one for each class.
        clock: expiry is told from its monotonic time.
        metrics: queue depths and overflows.
        on_start: runs first on the thread, such as setting its number of CPU threads.
    """

    def __init__(
        self,
        rules: Mapping[WorkClass, QueueRule],
        clock: Clock,
        metrics: EncoderMetrics,
        on_start: Callable[[], None],
    ) -> None:
        self._rules = dict(rules)
        self._clock = clock
        self._metrics = metrics
        self._on_start = on_start
        self._queues: dict[WorkClass, deque[_Work]] = {work_class: deque() for work_class in WorkClass}
        self._passed_over = dict.fromkeys(WorkClass, 0)
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Take no more work, answer what waits with UnavailableError, and wait for what runs."""
        with self._changed:
            self._closed = True
            waiting = [work for queue in self._queues.values() for work in queue]
            for queue in self._queues.values():
                queue.clear()
            self._changed.notify_all()
        for work in waiting:
            _fail(work, UnavailableError("encoder", "shutting down"))
        if self._thread.is_alive():
            self._thread.join()

    def submit(self, work_class: WorkClass, run: Callable[[], T], expires_at_s: float | None = None) -> Future[T]:
        """Queue one piece of work.

        Args:
            work_class: whose queue.
            run: what to do on the device's thread.
            expires_at_s: on the clock's monotonic time; later it is not begun.

        Returns:
            Its result. It fails with ExpiredError when its time ran out first, with OverloadedError when newer work
            took its place, and may be cancelled until it begins.

        Raises:
            OverloadedError: the queue is full and its policy refuses.
            UnavailableError: the scheduler is closed.
        """
        work = _Work(run, Future(), expires_at_s)
        dropped: _Work | None = None
        with self._changed:
            if self._closed:
                raise UnavailableError("encoder", "shutting down")
            queue, rule = self._queues[work_class], self._rules[work_class]
            if len(queue) >= rule.limit:
                self._metrics.queue_overflows.labels(work_class.value, rule.overflow.value).inc()
                if rule.overflow is OverflowPolicy.REFUSE_NEWEST:
                    raise OverloadedError(f"{work_class} queue", rule.limit)
                dropped = queue.popleft()
            queue.append(work)
            self._show_depth(work_class)
            self._changed.notify()
        if dropped is not None:
            _fail(dropped, OverloadedError(f"{work_class} queue", rule.limit))
        return work.future

    def _work(self) -> None:
        self._on_start()
        while (work := self._next()) is not None:
            if not work.future.set_running_or_notify_cancel():
                continue
            if work.expires_at_s is not None and self._clock.monotonic_s() >= work.expires_at_s:
                work.future.set_exception(ExpiredError("detection"))
                continue
            try:
                work.future.set_result(work.run())
            except BaseException as error:  # noqa: BLE001 - the edge of the thread; the waiter gets it
                work.future.set_exception(error)

    def _next(self) -> _Work | None:
        with self._changed:
            while not self._closed:
                work_class = self._choose()
                if work_class is not None:
                    work = self._queues[work_class].popleft()
                    self._show_depth(work_class)
                    return work
                self._changed.wait()
        return None

    def _choose(self) -> WorkClass | None:
        waiting = [work_class for work_class in WorkClass if self._queues[work_class]]
        if not waiting:
            return None
        owed = [c for c in waiting if self._passed_over[c] + 1 >= self._rules[c].every_nth]
        # Of several that are owed a turn, the one passed over longest takes it; otherwise precedence decides.
        chosen = max(owed, key=lambda c: self._passed_over[c]) if owed else waiting[0]
        for work_class in waiting:
            self._passed_over[work_class] = 0 if work_class is chosen else self._passed_over[work_class] + 1
        return chosen

    def _show_depth(self, work_class: WorkClass) -> None:
        self._metrics.queue_depth.labels(work_class.value).set(len(self._queues[work_class]))


def _fail(work: _Work, error: Exception) -> None:
    if work.future.set_running_or_notify_cancel():
        work.future.set_exception(error)
