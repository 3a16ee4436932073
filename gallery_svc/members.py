"""Signs of life: this process tells the store that it follows, and how far what it holds in memory is.

An erasure is through when every process that is alive has told a position behind it. So what is told is the oldest
state of which anything is still in memory, also while a newer one is being loaded beside it.
"""

from __future__ import annotations

from gallery_svc.replica import Replica
from gallery_svc.store.change_records import Member
from gallery_svc.store.protocol import Store
from tessera.chassis.clock import Clock

NEWS_INTERVAL_S = 0.5
"""Positions that have moved are told so often at most: each telling is a write."""
QUIET_INTERVAL_S = 5.0
"""One that nothing moves in says so; silent for 30 s, it counts as gone."""


class SignsOfLife:
    """Tells the store about this process.

    Args:
        store: who is told.
        replica: knows what is in memory.
        clock: for the pace.
        member_id: names this process; no other has it, and no earlier one had.
    """

    def __init__(self, store: Store, replica: Replica, clock: Clock, member_id: str) -> None:
        self._store = store
        self._replica = replica
        self._clock = clock
        self._member_id = member_id
        self._told_at_s: float | None = None
        self._told: dict[str, tuple[int, ...]] = {}

    async def tell(self) -> None:
        """Tell what there is to tell, if it is time.

        Raises:
            UnavailableError: the store is away.
        """
        held = self._replica.held()
        positions: dict[str, tuple[int, ...]] = {key: sequences for key, (_, sequences) in held.items()}
        if not self._is_time(positions):
            return
        generations: dict[str, str] = {key: generation for key, (generation, _) in held.items()}
        await self._store.heartbeat(Member(self._member_id, self._clock.now(), positions, generations))
        self._told_at_s, self._told = self._clock.monotonic_s(), positions

    def _is_time(self, positions: dict[str, tuple[int, ...]]) -> bool:
        if self._told_at_s is None:
            return True
        pace_s = QUIET_INTERVAL_S if positions == self._told else NEWS_INTERVAL_S
        return self._clock.monotonic_s() - self._told_at_s >= pace_s
