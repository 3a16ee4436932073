"""An outbox for as long as the process lives: the reference that the one in Redis is compared with, and for tests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway_svc.notifications import DeadLetter, DeadReason, Notification
from gateway_svc.outbox import DEFAULT_LIMITS, Depth, Fence, FencedError, HeldBack, OutboxLimits, overflow


class MemoryOutbox:
    """What is owed, in dictionaries.

    Args:
        limits: how much is kept.
    """

    def __init__(self, limits: OutboxLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._holder, self._held_until_s, self._fence = "", 0.0, Fence(0)
        self._cursor = ""
        self._queues: dict[str, dict[str, list[Notification]]] = {}
        self._due: dict[tuple[str, str], datetime] = {}
        self._done: dict[str, datetime] = {}
        self._dead: dict[str, DeadLetter] = {}
        self._held: dict[str, HeldBack] = {}

    async def acquire(self, holder: str, lease_s: float) -> Fence | None:
        """Take the lease, when nobody has it."""
        if self._holder not in {"", holder} and time.monotonic() < self._held_until_s:
            return None
        if self._holder != holder:
            self._fence = Fence(self._fence + 1)
        self._holder, self._held_until_s = holder, time.monotonic() + lease_s
        return self._fence

    async def renew(self, holder: str, fence: Fence, lease_s: float) -> None:
        """Hold on to the lease."""
        self._require(fence)
        self._holder, self._held_until_s = holder, time.monotonic() + lease_s

    async def release(self, holder: str, fence: Fence) -> None:
        """Let another gateway have the lease at once."""
        if fence == self._fence and self._holder == holder:
            self._holder = ""

    async def cursor(self) -> str:
        """How far the event log was taken in."""
        return self._cursor

    async def accept(self, fence: Fence, cursor: str, owed: Sequence[Notification], now: datetime) -> int:
        """Write what is owed and the cursor."""
        self._require(fence)
        self._cursor = cursor
        new = [one for one in owed if not self._knows(one)]
        for one in new:
            if (await self.depth(one.target)).waiting >= self._limits.max_waiting:
                self._keep_dead(overflow(one, self._limits.max_waiting, now))
            else:
                self._enqueue(one, now)
        return len(new)

    async def due(self, target: str, now: datetime, limit: int) -> list[Notification]:
        """What may be sent now."""
        moments = {thread: self._due[target, thread] for thread in self._queues.get(target, {})}
        ready = sorted((at, thread) for thread, at in moments.items() if at <= now)
        return [self._queues[target][thread][0] for _, thread in ready[:limit]]

    async def next_due(self, target: str) -> datetime | None:
        """When the next may be sent."""
        return min((self._due[target, thread] for thread in self._queues.get(target, {})), default=None)

    async def delivered(
        self, fence: Fence, notification: Notification, now: datetime, held_told: int | None = None
    ) -> None:
        """Strike it off."""
        self._require(fence)
        self._dequeue(notification, now)
        self._done[notification.key] = now
        oldest = now - timedelta(seconds=self._limits.remembered_s)
        self._done = {key: at for key, at in self._done.items() if at > oldest}
        if held_told is not None:
            await self.tell_held(fence, notification.target, held_told)

    async def tell_held(self, fence: Fence, target: str, held_told: int) -> None:
        """The target knows of so many."""
        self._require(fence)
        self._held[target] = HeldBack(self._held.get(target, HeldBack()).total, held_told)

    async def postpone(self, fence: Fence, tried: Notification, until: datetime) -> None:
        """Keep what failed for later."""
        self._require(fence)
        queue = self._queues.get(tried.target, {}).get(tried.thread, [])
        for at, one in enumerate(queue):
            if one.key == tried.key:
                queue[at] = tried
                self._due[tried.target, tried.thread] = until

    async def bury(self, fence: Fence, letter: DeadLetter) -> None:
        """Try it no more."""
        self._require(fence)
        if not self._dequeue(letter.notification, letter.at):
            return
        self._keep_dead(letter)
        if letter.reason is DeadReason.HELD_BACK:
            held = self._held.get(letter.notification.target, HeldBack())
            self._held[letter.notification.target] = HeldBack(held.total + 1, held.told)

    async def dead(self, target: str, limit: int) -> list[DeadLetter]:
        """Dead letters, the newest first."""
        newest = sorted(self._dead.values(), key=lambda letter: (letter.at, letter.notification.key), reverse=True)
        return [letter for letter in newest if target in {"", letter.notification.target}][:limit]

    async def revive(self, letters: Sequence[DeadLetter], now: datetime) -> int:
        """Send dead letters again."""
        there = [letter for letter in letters if self._dead.pop(letter.notification.key, None) is not None]
        for letter in there:
            self._enqueue(letter.notification.sent_again(now), now)
        return len(there)

    async def depth(self, target: str) -> Depth:
        """What waits for a target."""
        waiting = [one for queue in self._queues.get(target, {}).values() for one in queue]
        return Depth(len(waiting), min((one.happening.recorded_at for one in waiting), default=None))

    async def held_back(self, target: str) -> HeldBack:
        """What flood control held back."""
        return self._held.get(target, HeldBack())

    async def dead_count(self) -> int:
        """How many dead letters there are."""
        return len(self._dead)

    async def targets(self) -> frozenset[str]:
        """Those for whom something waits."""
        return frozenset(target for target, queues in self._queues.items() if queues)

    async def check(self) -> None:
        """Memory is always there."""

    async def close(self) -> None:
        """Nothing is held."""

    def _require(self, fence: Fence) -> None:
        if fence != self._fence:
            raise FencedError(fence)

    def _knows(self, one: Notification) -> bool:
        queue = self._queues.get(one.target, {}).get(one.thread, ())
        return one.key in self._done or one.key in self._dead or any(other.key == one.key for other in queue)

    def _enqueue(self, one: Notification, now: datetime) -> None:
        queue = self._queues.setdefault(one.target, {}).setdefault(one.thread, [])
        queue.append(one)
        if len(queue) == 1:
            self._due[one.target, one.thread] = now

    def _dequeue(self, one: Notification, now: datetime) -> bool:
        queue = self._queues.get(one.target, {}).get(one.thread, [])
        place = next((at for at, other in enumerate(queue) if other.key == one.key), None)
        if place is None:
            return False
        del queue[place]
        if not queue:
            del self._queues[one.target][one.thread], self._due[one.target, one.thread]
        elif place == 0:
            self._due[one.target, one.thread] = now
        return True

    def _keep_dead(self, letter: DeadLetter) -> None:
        self._dead[letter.notification.key] = letter
        while len(self._dead) > self._limits.max_dead:
            oldest = min(self._dead.values(), key=lambda one: one.at)
            del self._dead[oldest.notification.key]
