"""Time, handed in: deadlines run on `monotonic_s`, timestamps on `now`; tests hand in a clock that they move."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where a part takes its time from."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def now(self) -> datetime:
        """The time of day, with its zone, UTC."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        return time.monotonic()

    def now(self) -> datetime:
        """The time of day, UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that a test moves by hand.

    Args:
        now: where the time of day starts; with its zone.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._monotonic_s = 0.0

    def monotonic_s(self) -> float:
        """Seconds since the clock was made."""
        return self._monotonic_s

    def now(self) -> datetime:
        """The time of day."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._monotonic_s += seconds
        self._now += timedelta(seconds=seconds)
