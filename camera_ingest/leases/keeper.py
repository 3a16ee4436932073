"""Keeps this worker's leases: shows that it lives, takes its share, and knows at each moment what it may watch.

Two clocks never meet here. A lease is good for `hold_s` after the last beat that the store took, counted from before
that beat was sent; another worker is buried when its beat stayed the same for `lease_s`, counted from when it was first
seen, or when the kernel of the same machine says that its process is dead. The first limit is shorter than the second,
so that whoever cannot reach the store stops before anybody takes its cameras. Both run on the monotonic clock of the
one who counts: no clock's jump changes them.

Renewing waits for nothing but the store. What follows from it, such as stopping a camera, is the fleet's business.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace

from camera_ingest.leases.process_mark import is_gone
from camera_ingest.leases.sharing import Load, fair_shares
from camera_ingest.leases.table import LeaseTable, TableView, WorkerId, WorkerRow
from camera_ingest.metrics import IngestMetrics
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import UnavailableError
from tessera.domain.ids import CameraId

log = get_logger()

_RETRY_S = 0.2
_NOBODY = TableView({}, {}, -1)


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """How long leases last."""

    lease_s: float = 6.0
    """A worker that shows no sign of life for so long loses its cameras to others."""
    beat_s: float = 1.0
    """It shows one so often."""

    @property
    def hold_s(self) -> float:
        """A worker that cannot reach the store stops after so long; what it sent before has arrived by `lease_s`."""
        return self.lease_s * 0.8

    @property
    def settle_s(self) -> float:
        """Cameras are given back to newcomers once the same workers were there for so long: nobody dies unnoticed."""
        return self.lease_s + self.beat_s


class Lease:
    """The right to watch one camera, for as long as `is_held` says so.

    Args:
        camera_id: which.
        token: grows whenever a camera is taken, by whomever.
        keeper: knows until when.
    """

    def __init__(self, camera_id: CameraId, token: int, keeper: LeaseKeeper) -> None:
        self.camera_id = camera_id
        self.token = token
        self._keeper = keeper

    @property
    def is_held(self) -> bool:
        """Whether the camera may be watched now."""
        return self._keeper.holds(self)


@dataclass(slots=True)
class _Seen:
    """Another worker, as it looked when it last changed."""

    row: WorkerRow
    since_s: float


class LeaseKeeper:
    """The leases of one worker. Used from one event loop.

    Args:
        table: what all workers share.
        name: of the worker; random characters make it this process's own.
        capacity: cameras that it may watch.
        clock: whose monotonic time counts.
        metrics: where it counts.
        timing: how long leases last.
        process: this process's mark; empty: none.
    """

    def __init__(
        self,
        table: LeaseTable,
        *,
        name: str,
        capacity: int,
        clock: Clock,
        metrics: IngestMetrics,
        timing: LeaseTiming,
        process: str = "",
    ) -> None:
        self.me = WorkerId(f"{name}-{secrets.token_hex(6)}")
        self.timing = timing
        self.changed = asyncio.Event()
        """Set after each beat; whoever waits for it clears it."""
        self._table = table
        self._clock = clock
        self._metrics = metrics
        self._row = WorkerRow(0, "", capacity, process)
        self._view = _NOBODY
        self._wanted: frozenset[CameraId] = frozenset()
        self._held: dict[CameraId, Lease] = {}
        self._leaving: frozenset[CameraId] = frozenset()
        self._floors: dict[CameraId, int] = {}
        self._good_until_s = -1.0
        self._joined_s: float | None = None
        self._beaten_s: float | None = None
        self._seen: dict[WorkerId, _Seen] = {}
        self._settled_s = 0.0
        self._has_left = False
        self._talking = asyncio.Lock()

    # ---- what the fleet asks

    @property
    def revision(self) -> int:
        """Of the cameras, as the last beat told it."""
        return self._view.revision

    @property
    def address(self) -> str:
        """Where this worker's CameraService listens."""
        return self._row.address

    @property
    def total_capacity(self) -> int:
        """Cameras that all workers together may watch."""
        return sum(row.capacity for row in self._view.workers.values()) or self._row.capacity

    @property
    def addresses(self) -> frozenset[str]:
        """Where the other workers listen."""
        return frozenset(row.address for worker, row in self._view.workers.items() if worker != self.me)

    def held(self) -> dict[CameraId, Lease]:
        """The leases that are good now; none when the store was not reached for too long."""
        return dict(self._held) if self._is_good else {}

    def leaving(self) -> frozenset[CameraId]:
        """Those held that are to be given back, so that others have their share."""
        return self._leaving & self._held.keys()

    def holds(self, lease: Lease) -> bool:
        """Whether a lease is good now."""
        return self._held.get(lease.camera_id) is lease and self._is_good

    def holder_address(self, camera_id: CameraId) -> str | None:
        """Where the worker listens that holds a camera, when it is another one that lives."""
        lease = self._view.leases.get(camera_id)
        row = self._view.workers.get(lease.holder) if lease is not None and lease.holder != self.me else None
        return row.address if row is not None else None

    # ---- what the fleet tells

    def listen_at(self, address: str) -> None:
        """Say where this worker's CameraService listens; before the first beat."""
        self._row = replace(self._row, address=address)

    def want(self, cameras: Iterable[CameraId]) -> None:
        """Say which cameras are to be watched by somebody."""
        self._wanted = frozenset(cameras)

    def superseded(self, camera_id: CameraId, newest_token: int) -> None:
        """The gallery has seen a newer token: when the store still says that the camera is ours, it lost its tokens."""
        lease = self._held.get(camera_id)
        if lease is not None and lease.token <= newest_token:
            self._floors[camera_id] = max(newest_token, self._floors.get(camera_id, 0))

    async def give_back(self, leases: Iterable[Lease]) -> None:
        """Let go of cameras that are watched no more.

        Raises:
            UnavailableError: the store is away; they are let go of on this side all the same.
        """
        tokens = {}
        for lease in leases:
            if self._held.get(lease.camera_id) is lease:
                del self._held[lease.camera_id]
                tokens[lease.camera_id] = lease.token
        self._count("given_back", len(tokens))
        await self._table.give_back(self.me, tokens)

    # ---- life

    async def run(self) -> None:
        """Beat for ever."""
        is_away, began_s = False, self._clock.monotonic_s()
        while True:
            # After a failure at once again: a lease is short, and a store that hung may answer now.
            pause_s = _RETRY_S if is_away else self.timing.beat_s - (self._clock.monotonic_s() - began_s)
            await asyncio.sleep(max(pause_s, _RETRY_S))
            began_s = self._clock.monotonic_s()
            try:
                await self.beat()
            except UnavailableError as error:
                self._metrics.lease_renewals_failed.inc()
                if not is_away:
                    log.warning("leases.store_away", error=str(error), good_for_s=round(max(0.0, self._left_s), 1))
                is_away = True
            except Exception:  # the edge of a task: without it every camera would stop in a few seconds
                self._metrics.lease_renewals_failed.inc()
                if not is_away:
                    log.exception("leases.beat_failed")
                is_away = True
            else:
                is_away = False
            self._metrics.leases_held.set(len(self.held()))
            self.changed.set()

    async def beat(self) -> None:
        """Renew what is held, bury who is silent, take what is free of the share.

        Raises:
            UnavailableError: the store is away.
        """
        async with self._talking:
            if self._has_left:
                return
            began_s = self._clock.monotonic_s()
            self._row = replace(self._row, beat=self._row.beat + 1)
            self._view = await self._table.beat(self.me, self._row)
            self._joined_s = began_s if self._joined_s is None else self._joined_s
            self._good_until_s = began_s + self.timing.hold_s if self._table.is_shared else float("inf")
            self._drop_lost()
            await self._bury_silent()
            await self._take_share(began_s)

    async def leave(self) -> None:
        """Let go of everything at once, so that others need not wait.

        Raises:
            UnavailableError: the store is away; others wait until they take this worker for dead.
        """
        async with self._talking:
            self._has_left = True
            self._held.clear()
            await self._table.leave(self.me)

    # ---- inside

    @property
    def _is_good(self) -> bool:
        return self._left_s > 0

    @property
    def _left_s(self) -> float:
        return self._good_until_s - self._clock.monotonic_s()

    def _drop_lost(self) -> None:
        """Those that the table gives to somebody else, or to nobody: it knows better."""
        for camera_id, lease in list(self._held.items()):
            row = self._view.leases.get(camera_id)
            if row is None or row.holder != self.me or row.token != lease.token:
                del self._held[camera_id]
                self._count("lost", 1)
                log.warning("lease.lost", camera=camera_id, token=lease.token, now=row.token if row else 0)

    async def _bury_silent(self) -> None:
        now_s = self._clock.monotonic_s()
        # While the store was away nobody could beat, and nobody could be seen to.
        was_away = self._beaten_s is not None and now_s - self._beaten_s > 2 * self.timing.beat_s + 1.0
        self._beaten_s = now_s
        others = {worker: row for worker, row in self._view.workers.items() if worker != self.me}
        if others.keys() != self._seen.keys() or was_away:
            self._settled_s = now_s
        before, self._seen = self._seen, {}
        for worker, row in others.items():
            seen = before.get(worker)
            is_same = seen is not None and seen.row == row and not was_away
            self._seen[worker] = seen if seen is not None and is_same else _Seen(row, now_s)
        for worker in [key for key, seen in self._seen.items() if self._is_dead(seen, now_s)]:
            if await self._table.bury(worker, self._seen[worker].row):
                log.warning("worker.buried", worker=worker, silent_s=round(now_s - self._seen[worker].since_s, 1))
                self._forget(worker)

    def _is_dead(self, seen: _Seen, now_s: float) -> bool:
        return now_s - seen.since_s > self.timing.lease_s or is_gone(seen.row.process)

    def _forget(self, worker: WorkerId) -> None:
        del self._seen[worker]
        self._settled_s = self._clock.monotonic_s()
        workers = {key: row for key, row in self._view.workers.items() if key != worker}
        leases = {key: row for key, row in self._view.leases.items() if row.holder != worker}
        self._view = replace(self._view, workers=workers, leases=leases)

    async def _take_share(self, now_s: float) -> None:
        share = self._share()
        mine = self._held.keys() & self._wanted
        settled = now_s - self._settled_s > self.timing.settle_s
        excess = len(mine) - share
        newest_first = sorted(mine, key=lambda camera_id: -self._held[camera_id].token)
        self._leaving = frozenset(newest_first[: max(0, excess)]) if settled else frozenset()
        floors = {camera_id: floor for camera_id, floor in self._floors.items() if camera_id in self._held}
        self._floors.clear()
        for camera_id in self._free(max(0, -excess), now_s):
            # One that the table calls ours and that we let go of comes back under another token.
            row = self._view.leases.get(camera_id)
            floors[camera_id] = row.token if row is not None else 0
        taken = await self._table.take(self.me, floors) if floors else {}
        self._count("taken", len(taken))
        for camera_id, token in taken.items():
            if camera_id in self._held:
                log.warning("lease.token_raised", camera=camera_id, token=token)
                self._held[camera_id].token = token
            else:
                self._held[camera_id] = Lease(camera_id, token, self)

    def _share(self) -> int:
        live = self._view.workers
        held = dict.fromkeys(live, 0)
        for camera_id, row in self._view.leases.items():
            if row.holder in held and camera_id in self._wanted:
                held[row.holder] += 1
        loads = {worker: Load(held[worker], row.capacity) for worker, row in live.items()}
        return fair_shares(loads, len(self._wanted)).get(self.me, 0)

    def _free(self, room: int, now_s: float) -> list[CameraId]:
        """Up to so many cameras that nobody holds, at random: who else takes some at this moment takes others."""
        is_new = self._joined_s is None or now_s - self._joined_s < self.timing.beat_s / 2
        if room == 0 or (is_new and self._table.is_shared):  # those that start at this moment are to be seen first
            return []
        live, leases = self._view.workers, self._view.leases
        free = [key for key in self._wanted if key not in leases or leases[key].holder not in live]
        free += [key for key in self._wanted - self._held.keys() if key in leases and leases[key].holder == self.me]
        return secrets.SystemRandom().sample(sorted(free), min(room, len(free)))

    def _count(self, kind: str, count: int) -> None:
        if count:
            self._metrics.lease_changes.labels(kind).inc(count)
