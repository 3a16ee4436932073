"""Follows erasures: what shows somebody whom the gallery no longer knows is removed here too.

The gallery is asked, every few seconds, which of the sightings and subjects that something here shows are gone. Asking
needs no memory of what was told while this worker was down. Of the subjects too: a tracklet that goes on after its
person was erased is told anew, under the same event id. While the gallery is away nothing is known, and nothing
removed; ages go on counting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from camera_ingest.evidence.keeper import Keeper
from camera_ingest.evidence.shots import Shots
from camera_ingest.evidence.vault import Shown
from tessera.chassis.logs import get_logger
from tessera.domain.errors import TesseraError

log = get_logger()

ASKED_AT_ONCE = 1000

Check = Callable[[Sequence[Shown]], Awaitable[frozenset[Shown]]]
"""Which of these are gone; raises a `TesseraError` where nobody can say."""


class Forgetter:
    """Removes what shows somebody who was erased.

    Args:
        keeper: of what is on disk.
        shots: that are in memory.
        check: asks the gallery.
        interval_s: how often.
    """

    def __init__(self, keeper: Keeper, shots: Shots, check: Check, interval_s: float) -> None:
        self._keeper = keeper
        self._shots = shots
        self._check = check
        self._interval_s = interval_s

    async def run(self) -> None:
        """Ask for ever."""
        is_away = False
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.look()
            except TesseraError as error:
                if not is_away:
                    log.warning("evidence.gallery_away", error=str(error))
                is_away = True
            except Exception:  # the edge of a task: erasures must go on being followed
                log.exception("evidence.forgetting_failed")
            else:
                is_away = False

    async def look(self) -> int:
        """Ask once, and remove what is to be removed; returns how many pieces that were."""
        shown = sorted(await self._keeper.shown())
        removed = 0
        for start in range(0, len(shown), ASKED_AT_ONCE):
            gone = await self._check(shown[start : start + ASKED_AT_ONCE])
            if gone:
                self._shots.forget(gone)
                removed += await self._keeper.erase_showing(gone)
        if removed:
            log.info("evidence.erased", pieces=removed)
        return removed
