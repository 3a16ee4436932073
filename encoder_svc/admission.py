"""The door of the encoder: pictures wait here as the bytes that were sent, and few are decoded at a time.

Each class has a bounded queue whose overflow has a name, and a window: so many of its pictures may be under way. A
picture that was decoded and then dropped would be work for nothing, so what is dropped is dropped here. Decoded pixels
are bounded in bytes as well. All of it runs on the event loop; nothing blocks.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from encoder_svc.metrics import EncoderMetrics
from encoder_svc.scheduling.work import WorkClass
from tessera.chassis.clock import Clock
from tessera.domain.errors import ExpiredError, OverloadedError

_SURELY = 0.8
"""Of the time that is left: so much may be planned with."""
_MEMORY_S = 2.0
_ENOUGH_ANSWERS = 4


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
    """Pictures that may wait."""
    overflow: OverflowPolicy
    window: int
    """Pictures that may be under way, from decoding to the answer."""


@dataclass(slots=True)
class Pace:
    """How fast answers come while all places are taken, over the last seconds.

    They come in batches, so a few of them say little.
    """

    seen: int = 0
    answers: float = 0.0
    seconds: float = 0.0
    last_s: float | None = None
    """When the last one came, if all places were taken then."""

    def answered(self, now_s: float, *, busy: bool) -> None:
        """Note an answer."""
        if self.last_s is not None:
            since_s = now_s - self.last_s
            fading = math.exp(-since_s / _MEMORY_S)
            self.seen += 1
            self.answers = self.answers * fading + 1.0
            self.seconds = self.seconds * fading + since_s
        self.last_s = now_s if busy else None

    def within(self, seconds: float) -> int | None:
        """How many answers will come in a time; None while too little is known."""
        if self.seen < _ENOUGH_ANSWERS or self.seconds <= 0.0:
            return None
        return int(seconds * self.answers / self.seconds)


@dataclass(slots=True, eq=False)
class Gate:
    """The queue and the window of one class.

    Args:
        work_class: whose.
        rule: limits and overflow.
        metrics: its depth and overflows.
        clock: how fast answers come is told from its monotonic time.
    """

    work_class: WorkClass
    rule: QueueRule
    metrics: EncoderMetrics
    clock: Clock
    inside: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    pace: Pace = field(default_factory=Pace)

    async def enter(self, timeout_s: float | None) -> None:
        """Wait for a place.

        Args:
            timeout_s: how long the picture is wanted; None: for ever.

        Raises:
            OverloadedError: the queue is full and refuses, or a newer picture took this one's place, or its turn would
                come too late.
            ExpiredError: nobody wants it any more.
        """
        if timeout_s is not None and timeout_s <= 0.0:
            raise ExpiredError("queue")
        if self.inside < self.rule.window and not self.waiting:
            self.inside += 1
            return
        self._make_room()
        self._refuse_late(timeout_s)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(waiter)
        self._show()
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.leave()
            if isinstance(error, TimeoutError):
                raise ExpiredError("queue") from None
            raise
        finally:
            if waiter in self.waiting:
                self.waiting.remove(waiter)
            self._show()

    def leave(self) -> None:
        """A picture has left the window: the next one that still waits enters."""
        self.inside -= 1
        while self.waiting and self.inside < self.rule.window:
            waiter = self.waiting.popleft()
            if not waiter.done():
                self.inside += 1
                waiter.set_result(None)

    def answered(self) -> None:
        """A picture that was let in has its answer; how fast they come says how long the next one would wait."""
        self.pace.answered(self.clock.monotonic_s(), busy=self.inside >= self.rule.window)

    def _refuse_late(self, timeout_s: float | None) -> None:
        """Refuse what would be answered too late: work that is done for nobody takes the place of work in time.

        It comes here only while all places are taken, and those are answered: so a pace that was learnt in a bad moment
        is learnt anew, and refuses nobody for ever.
        """
        if timeout_s is None or self.rule.overflow is not OverflowPolicy.REFUSE_NEWEST:
            return
        in_time = self.pace.within(_SURELY * timeout_s)
        if in_time is not None and len(self.waiting) + self.inside >= in_time:
            self.metrics.queue_overflows.labels(self.work_class.value, "refuse_late").inc()
            raise OverloadedError(f"{self.work_class} queue", in_time)

    def _make_room(self) -> None:
        while self.waiting and self.waiting[0].done():
            self.waiting.popleft()
        if len(self.waiting) < self.rule.limit:
            return
        self.metrics.queue_overflows.labels(self.work_class.value, self.rule.overflow.value).inc()
        full = OverloadedError(f"{self.work_class} queue", self.rule.limit)
        if self.rule.overflow is OverflowPolicy.REFUSE_NEWEST:
            raise full
        self.waiting.popleft().set_exception(full)

    def _show(self) -> None:
        self.metrics.queue_depth.labels(self.work_class.value).set(len(self.waiting))


class PixelBudget:
    """Bytes that decoded pictures may take at a time; verify calls are served first.

    Args:
        limit_bytes: of all pictures together. A picture larger than this is let in alone.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._waiting: dict[WorkClass, deque[tuple[int, asyncio.Future[None]]]] = {c: deque() for c in WorkClass}

    @property
    def used_bytes(self) -> int:
        """What decoded pictures take now."""
        return self._used

    @asynccontextmanager
    async def held(self, work_class: WorkClass, picture_bytes: int) -> AsyncIterator[None]:
        """Room for one decoded picture while the block runs."""
        wanted = min(picture_bytes, self._limit)
        await self._acquire(work_class, wanted)
        try:
            yield
        finally:
            self._release(wanted)

    async def _acquire(self, work_class: WorkClass, wanted: int) -> None:
        if self._used + wanted <= self._limit and not any(self._waiting.values()):
            self._used += wanted
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (wanted, waiter)
        self._waiting[work_class].append(entry)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self._release(wanted)
            raise
        finally:
            if entry in self._waiting[work_class]:
                self._waiting[work_class].remove(entry)
                self._let_in()

    def _release(self, returned: int) -> None:
        self._used -= returned
        self._let_in()

    def _let_in(self) -> None:
        for queue in self._waiting.values():
            while queue:
                wanted, waiter = queue[0]
                if not waiter.done() and self._used + wanted > self._limit:
                    return
                queue.popleft()
                if not waiter.done():
                    self._used += wanted
                    waiter.set_result(None)


class Admission:
    """The gates of all classes, and the budget that they share.

    Args:
        rules: one for each class.
        decoded_bytes: of all decoded pictures together.
        clock: how fast answers come is told from its monotonic time.
        metrics: depths and overflows.
    """

    def __init__(
        self, rules: Mapping[WorkClass, QueueRule], decoded_bytes: int, clock: Clock, metrics: EncoderMetrics
    ) -> None:
        self._gates = {work_class: Gate(work_class, rule, metrics, clock) for work_class, rule in rules.items()}
        self.pixels = PixelBudget(decoded_bytes)

    @asynccontextmanager
    async def entered(self, work_class: WorkClass, timeout_s: float | None) -> AsyncIterator[None]:
        """A place in the window of a class, for the whole way of a picture; the end of the block is the answer.

        Raises:
            OverloadedError: the queue is full and refuses, or a newer picture took this one's place, or its turn would
                come too late.
            ExpiredError: its time ran out while it waited.
        """
        gate = self._gates[work_class]
        await gate.enter(timeout_s)
        try:
            yield
            gate.answered()
        finally:
            gate.leave()

    def waiting(self) -> int:
        """Pictures that wait at the door."""
        return sum(len(gate.waiting) for gate in self._gates.values())
