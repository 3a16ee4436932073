"""Flood control: a bucket of tokens for each target. What finds it empty is held back, and counted."""

from __future__ import annotations

from gateway_svc.targets import Flood
from tessera.chassis.clock import Clock


class Bucket:
    """Tokens that come back at an even rate.

    Args:
        flood: how many there are, and in which time that many come back.
        clock: for the time.
    """

    def __init__(self, flood: Flood, clock: Clock) -> None:
        self._most = float(flood.messages)
        self._rate_hz = flood.messages / flood.per_s
        self._clock = clock
        self._tokens = self._most
        self._counted_s = clock.monotonic_s()

    def take(self) -> bool:
        """Take one, if one is there."""
        self._count()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def is_at_rest(self) -> bool:
        """Whether all tokens are back: the flood is over."""
        self._count()
        return self._tokens >= self._most

    def _count(self) -> None:
        now_s = self._clock.monotonic_s()
        self._tokens = min(self._most, self._tokens + (now_s - self._counted_s) * self._rate_hz)
        self._counted_s = now_s
