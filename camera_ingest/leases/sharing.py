"""How many cameras are each worker's share: as even as their number allows, and with as few moves as that takes."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from camera_ingest.leases.table import WorkerId


@dataclass(frozen=True, slots=True)
class Load:
    """One worker's."""

    held: int
    """Cameras that it holds."""
    capacity: int
    """Cameras that it may watch."""


def fair_shares(loads: Mapping[WorkerId, Load], cameras: int) -> dict[WorkerId, int]:
    """The share of each worker; everybody who knows the same loads comes to the same shares.

    Shares differ by one at most, but where a worker has no room for more; who holds more already gets the odd ones, so
    that shares which are even ask nobody to give anything back.
    """
    shares = dict.fromkeys(loads, 0)
    waiting = [(0, -load.held, worker) for worker, load in loads.items() if load.capacity > 0]
    heapq.heapify(waiting)
    for _ in range(cameras):
        if not waiting:
            break
        share, held, worker = heapq.heappop(waiting)
        shares[worker] = share + 1
        if share + 1 < loads[worker].capacity:
            heapq.heappush(waiting, (share + 1, held, worker))
    return shares
