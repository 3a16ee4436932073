"""Notices that this machine's wall clock jumps: nothing here depends on it, but everything that is told carries it."""

from __future__ import annotations

import asyncio

from camera_ingest.metrics import IngestMetrics
from camera_ingest.sources.wall_clock import WallClock
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger

log = get_logger()

_EVERY_S = 1.0


class JumpWatch:
    """Looks at the wall clock once a second.

    Args:
        clock: this machine's.
        metrics: where jumps are counted.
    """

    def __init__(self, clock: Clock, metrics: IngestMetrics) -> None:
        self._wall = WallClock(clock)
        self._metrics = metrics

    def look(self) -> None:
        """Tell of a jump since the last look."""
        moved_s = self._wall.look()
        if moved_s:
            log.warning("wall_clock.jumped", by_s=round(moved_s, 3))
            self._metrics.clock_jumps.inc()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self.look()
