"""The outbox: what is owed to each target, written with the cursor of the event log in one step, and struck off in a
second one, after the target has taken it. What happens between the two happens again: at least once, never not at all.

One gateway works at a time. It holds a lease, and each lease has a number, the fence: a gateway that was held up and
lost its lease writes nothing more, whatever it still believes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NewType, Protocol

from gateway_svc.notifications import DeadLetter, DeadReason, Notification
from tessera.domain.errors import TesseraError

Fence = NewType("Fence", int)
"""The number of a lease; grows with each holder."""


class FencedError(TesseraError):
    """Another gateway holds the lease by now; nothing was written."""

    def __init__(self, fence: Fence) -> None:
        self.fence = fence
        super().__init__(f"the lease {fence} was lost to another gateway")


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """How much is kept."""

    max_waiting: int = 100_000
    """For each target; one more becomes a dead letter (OVERFLOW)."""
    max_dead: int = 10_000
    """Dead letters; one more pushes the oldest out."""
    remembered_s: float = 7 * 86_400.0
    """Keys of what was delivered, so that an event that is told again is not delivered again; and dead letters."""


DEFAULT_LIMITS = OutboxLimits()


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits for one target."""

    waiting: int
    oldest: datetime | None
    """When the oldest of it was recorded."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What flood control held back from one target, ever, and how much of it the target was told of."""

    total: int = 0
    told: int = 0

    @property
    def untold(self) -> int:
        """How many the target does not know of."""
        return max(0, self.total - self.told)


class Outbox(Protocol):
    """What is owed, durably. Every method may raise UnavailableError; those that take a fence, FencedError."""

    async def acquire(self, holder: str, lease_s: float) -> Fence | None:
        """Take the lease, when nobody has it."""
        ...

    async def renew(self, holder: str, fence: Fence, lease_s: float) -> None:
        """Hold on to the lease, also to one that ran out and that nobody took."""
        ...

    async def release(self, holder: str, fence: Fence) -> None:
        """Let another gateway have the lease at once; nothing when it is lost already."""
        ...

    async def cursor(self) -> str:
        """How far the event log was taken in; empty: nothing of it yet."""
        ...

    async def accept(self, fence: Fence, cursor: str, owed: Sequence[Notification], now: datetime) -> int:
        """Write what is owed and the cursor behind it, in one step; what is known already changes nothing.

        Returns:
            How many were new.
        """
        ...

    async def due(self, target: str, now: datetime, limit: int) -> list[Notification]:
        """What may be sent now: of each thread the oldest alone, those that have waited longest first."""
        ...

    async def next_due(self, target: str) -> datetime | None:
        """When the next may be sent; None: nothing waits."""
        ...

    async def delivered(
        self, fence: Fence, notification: Notification, now: datetime, held_told: int | None = None
    ) -> None:
        """Strike it off; `held_told`: the target knows by now that so many were held back, ever."""
        ...

    async def tell_held(self, fence: Fence, target: str, held_told: int) -> None:
        """The target knows by now that so many were held back, ever."""
        ...

    async def postpone(self, fence: Fence, tried: Notification, until: datetime) -> None:
        """Keep what failed for later, and its thread with it."""
        ...

    async def bury(self, fence: Fence, letter: DeadLetter) -> None:
        """Try it no more; it is kept as a dead letter, and the next of its thread comes."""
        ...

    async def dead(self, target: str, limit: int) -> list[DeadLetter]:
        """Dead letters, the newest first; an empty target: of all."""
        ...

    async def revive(self, letters: Sequence[DeadLetter], now: datetime) -> int:
        """Send dead letters again, marked as replayed; returns how many were still there."""
        ...

    async def depth(self, target: str) -> Depth:
        """What waits for a target."""
        ...

    async def held_back(self, target: str) -> HeldBack:
        """What flood control held back from a target."""
        ...

    async def dead_count(self) -> int:
        """How many dead letters there are."""
        ...

    async def targets(self) -> frozenset[str]:
        """Those for whom something waits, also targets that are configured no more."""
        ...

    async def check(self) -> None:
        """Ask the store for a sign of life."""
        ...

    async def close(self) -> None:
        """Let go of the store."""
        ...


def overflow(notification: Notification, limit: int, now: datetime) -> DeadLetter:
    """What becomes of one that there is no room for."""
    return DeadLetter(notification, DeadReason.OVERFLOW, f"{limit} waited already", now)
