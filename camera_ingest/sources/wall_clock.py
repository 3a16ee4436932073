"""The wall clock as an offset from the monotonic one, so that it can be seen to jump."""

from __future__ import annotations

from datetime import UTC, datetime

from tessera.chassis.clock import Clock

JUMP_S = 1.0
"""A wall clock that moves by more against the monotonic one has jumped; time servers turn it by less."""


class WallClock:
    """This machine's wall clock, looked at again and again.

    Args:
        clock: this machine's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_s = self._read()
        self.jumps = 0
        """How often it has jumped."""

    def look(self) -> float:
        """Follow the wall clock; returns by how many seconds it has jumped since the last look: 0 mostly."""
        found_s = self._read()
        moved_s, self._offset_s = found_s - self._offset_s, found_s
        if abs(moved_s) <= JUMP_S:
            return 0.0
        self.jumps += 1
        return moved_s

    def at(self, monotonic_s: float) -> datetime:
        """What it shows, as it was set at the last look, at a moment of the monotonic clock."""
        return datetime.fromtimestamp(self._offset_s + monotonic_s, UTC)

    def _read(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic_s()
