"""The door of the encoder: pictures wait here as the bytes that were sent, and few are decoded at a time.

Each class has a bounded queue whose overflow has a name, and a window: so many of its pictures may be between decoding
and the end of detection. A picture that was decoded and then dropped would be work for nothing, so what is dropped is
dropped here. Decoded pixels are bounded in bytes as well. All of it runs on the event loop; nothing blocks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from encoder_svc.metrics import EncoderMetrics
from encoder_svc.scheduling.work import WorkClass
from tessera.domain.errors import ExpiredError, OverloadedError


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
    """Pictures that may be between decoding and the end of detection."""


@dataclass(slots=True, eq=False)
class Slot:
    """A picture's place in its class's window; left early, when detection is over."""

    gate: Gate
    taken: bool = True

    def leave(self) -> None:
        """Let the next one in."""
        if self.taken:
            self.taken = False
            self.gate.leave()


@dataclass(slots=True, eq=False)
class Gate:
    """The queue and the window of one class.

    Args:
        work_class: whose.
        rule: limits and overflow.
        metrics: its depth and overflows.
    """

    work_class: WorkClass
    rule: QueueRule
    metrics: EncoderMetrics
    inside: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    async def enter(self, timeout_s: float | None) -> Slot:
        """Wait for a place.

        Args:
            timeout_s: how long the picture is wanted; None: for ever.

        Raises:
            OverloadedError: the queue is full and refuses, or a newer picture took this one's place.
            ExpiredError: nobody wants it any more.
        """
        if timeout_s is not None and timeout_s <= 0.0:
            raise ExpiredError("decoding")
        if self.inside < self.rule.window and not self.waiting:
            self.inside += 1
            return Slot(self)
        self._make_room()
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
                raise ExpiredError("decoding") from None
            raise
        finally:
            if waiter in self.waiting:
                self.waiting.remove(waiter)
            self._show()
        return Slot(self)

    def leave(self) -> None:
        """A picture has left the window: the next one that still waits enters."""
        self.inside -= 1
        while self.waiting and self.inside < self.rule.window:
            waiter = self.waiting.popleft()
            if not waiter.done():
                self.inside += 1
                waiter.set_result(None)

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
        metrics: depths and overflows.
    """

    def __init__(self, rules: Mapping[WorkClass, QueueRule], decoded_bytes: int, metrics: EncoderMetrics) -> None:
        self._gates = {work_class: Gate(work_class, rule, metrics) for work_class, rule in rules.items()}
        self.pixels = PixelBudget(decoded_bytes)

    @asynccontextmanager
    async def entered(self, work_class: WorkClass, timeout_s: float | None) -> AsyncIterator[Slot]:
        """A place in the window of a class; left at the end of the block, or earlier through the slot.

        Raises:
            OverloadedError: the queue is full and refuses, or a newer picture took this one's place.
            ExpiredError: its time ran out while it waited.
        """
        slot = await self._gates[work_class].enter(timeout_s)
        try:
            yield slot
        finally:
            slot.leave()

    def waiting(self) -> int:
        """Pictures that wait at the door."""
        return sum(len(gate.waiting) for gate in self._gates.values())
