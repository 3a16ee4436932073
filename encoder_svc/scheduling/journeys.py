"""The way of one picture from stage to stage, without the event loop between two of them.

A way is a generator: it yields what it wants done, and gets what was done when all of it is. It goes on at once on the
thread that did the last of it, so a lane finds the next step of a verify call waiting before it looks for other work.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from encoder_svc.scheduling.work import Asker, Done, Want, Work

T = TypeVar("T")

Way = Generator[Sequence[Want], list[Done], T]
"""Yields what it wants done, is sent the results in that order, and returns its answer."""


def side_by_side(*ways: Way[T]) -> Way[list[T]]:
    """Several ways in step: what all of them want next is wanted at once, and they go on when all of it is done.

    Returns:
        What each gave, in their order. When one fails, none goes on.
    """
    answers: dict[int, T] = {}
    wanted: dict[int, Sequence[Want]] = {}
    sent: dict[int, list[Done] | None] = dict.fromkeys(range(len(ways)))
    try:
        while sent:
            for at, done in sent.items():
                try:
                    wanted[at] = next(ways[at]) if done is None else ways[at].send(done)
                except StopIteration as end:
                    answers[at] = end.value
            left = iter((yield [want for wants in wanted.values() for want in wants]) if wanted else ())
            sent = {at: [next(left) for _ in wants] for at, wants in wanted.items()}
            wanted = {}
    finally:
        for way in ways:
            way.close()
    return [answers[at] for at in range(len(ways))]


@dataclass(frozen=True, slots=True)
class Ran:
    """A batch that something of a picture was in."""

    stage: str
    started_s: float
    """On the clock's monotonic time."""
    run_s: float
    items: int


class Submits(Protocol):
    """Who takes work."""

    def submit(self, wants: Sequence[Want], asker: Asker) -> list[Work]:
        """Queue it."""
        ...


class Journey(Generic[T]):
    """One way, and how far it is.

    Args:
        way: what is wanted, step by step.
        scheduler: takes what the way wants.
        asker: for whom.
    """

    def __init__(self, way: Way[T], scheduler: Submits, asker: Asker) -> None:
        self.future: Future[T] = Future()
        """The answer; or the error of the first work that failed; or what the way raised."""
        self.ran: list[Ran] = []
        """What ran for it, in the order of its end; without the results, which are large."""
        self._way = way
        self._scheduler = scheduler
        self._asker = asker
        self._lock = threading.Lock()
        self._works: list[Work] = []
        self._left = 0

    def begin(self) -> None:
        """Take the first step; what cannot be queued is told by the future."""
        self._go_on(None)

    def cancel(self) -> None:
        """Nobody wants the answer any more: what waits is not begun, what runs is the last."""
        self.future.cancel()
        self._drop()

    def _go_on(self, done: list[Done] | None) -> None:
        if self.future.cancelled():
            self._way.close()
            return
        try:
            wants = next(self._way) if done is None else self._way.send(done)
            works = self._scheduler.submit(wants, self._asker)
        except StopIteration as end:
            self._end(end.value)
            return
        except BaseException as error:  # noqa: BLE001 - the edge of a thread; whoever waits gets it
            self._way.close()
            self._fail(error)
            return
        if not works:
            self._go_on([])
            return
        with self._lock:
            self._works, self._left = works, len(works)
        for work in works:
            work.future.add_done_callback(self._one_done)
        if self.future.cancelled():  # since it was asked above
            self._drop()

    def _one_done(self, future: Future[Done]) -> None:
        """On the thread that did it. Whoever ends the last work of a step takes the next one."""
        failed = future.cancelled() or future.exception() is not None
        with self._lock:
            self._left -= 1
            over = self._left == 0
            works = self._works
            if over:
                self._works = []
        if failed and not over:
            _cancel(works)
        if over:
            self._step_over(works)

    def _step_over(self, works: list[Work]) -> None:
        futures = [work.future for work in works]
        # A step may hold works that were cancelled because another one failed: that one's error is told.
        errors = [f.exception() for f in futures if not f.cancelled()]
        error = next((one for one in errors if one is not None), None)
        if error is None and not any(f.cancelled() for f in futures):
            done = [f.result() for f in futures]
            self.ran += [
                Ran(work.stage.name, one.started_s, one.run_s, one.items) for work, one in zip(works, done, strict=True)
            ]
            works.clear()
            self._go_on(done)
            return
        self._way.close()
        if error is not None:
            self._fail(error)

    def _drop(self) -> None:
        with self._lock:
            works = list(self._works)
        _cancel(works)

    def _end(self, answer: T) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(answer)

    def _fail(self, error: BaseException) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)


def _cancel(works: Sequence[Work]) -> None:
    for work in works:
        work.future.cancel()
