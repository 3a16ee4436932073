"""The table of leases that all workers share: who is there, who holds which camera, under which token.

A worker shows that it lives by a beat that changes; how long a beat may stay the same is for those who look at it, each
on its own monotonic clock. So nothing here ends by the time of day, neither of a worker's machine nor of the store's,
and a clock that jumps moves no camera. A token is above every earlier one of the store, and not below the store's time
in microseconds: a store that lost everything goes on above what it gave out, unless its clock was set back as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NewType, Protocol

from camera_ingest.store import StoreConnection
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.ids import CameraId

log = get_logger()

WorkerId = NewType("WorkerId", str)


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as the table shows it."""

    beat: int
    """Changes as long as it lives."""
    address: str
    """host:port where its CameraService listens."""
    capacity: int
    """Cameras that it may watch."""
    process: str = ""
    """Its process's mark, for others on the same machine; empty: none."""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """Who holds a camera."""

    holder: WorkerId
    token: int


@dataclass(frozen=True, slots=True)
class TableView:
    """The table at one moment."""

    workers: Mapping[WorkerId, WorkerRow]
    leases: Mapping[CameraId, LeaseRow]
    revision: int
    """Of the cameras: another one when one was added, changed or removed."""


class LeaseTable(Protocol):
    """Where leases are kept. Each method is one step that happens whole or not at all; each may be repeated.

    Each raises `UnavailableError` when the store is away.
    """

    is_shared: bool
    """Whether other workers can be there."""

    async def beat(self, me: WorkerId, row: WorkerRow) -> TableView:
        """Show that a worker lives; returns how things stand."""
        ...

    async def take(self, me: WorkerId, floors: Mapping[CameraId, int]) -> Mapping[CameraId, int]:
        """Take cameras that nobody holds, or renew the tokens of one's own.

        Args:
            me: who; it must have beaten.
            floors: for each camera the number that its token must exceed; 0: any will do.

        Returns:
            The tokens of those that are held now.
        """
        ...

    async def give_back(self, me: WorkerId, tokens: Mapping[CameraId, int]) -> None:
        """Let go of cameras, where they are still held under these tokens."""
        ...

    async def bury(self, worker: WorkerId, row: WorkerRow) -> bool:
        """Take a worker and its leases out of the table, unless it has beaten since it looked like `row`."""
        ...

    async def leave(self, me: WorkerId) -> None:
        """Take oneself and one's leases out of the table."""
        ...


class MemoryLeaseTable:
    """The table of a worker that is alone.

    Args:
        clock: tokens go on from its time.
    """

    is_shared = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._workers: dict[WorkerId, WorkerRow] = {}
        self._leases: dict[CameraId, LeaseRow] = {}
        self._token = 0

    async def beat(self, me: WorkerId, row: WorkerRow) -> TableView:
        """Show that a worker lives."""
        self._workers[me] = row
        return TableView(dict(self._workers), dict(self._leases), 0)

    async def take(self, me: WorkerId, floors: Mapping[CameraId, int]) -> Mapping[CameraId, int]:
        """Take cameras that nobody holds."""
        taken = {}
        for camera_id, floor in floors.items():
            held = self._leases.get(camera_id)
            if held is not None and held.holder != me and held.holder in self._workers:
                continue
            if held is None or held.holder != me or held.token <= floor:
                self._token = max(self._token, int(self._clock.now().timestamp() * 1e6), floor) + 1
                held = self._leases[camera_id] = LeaseRow(me, self._token)
            taken[camera_id] = held.token
        return taken

    async def give_back(self, me: WorkerId, tokens: Mapping[CameraId, int]) -> None:
        """Let go of cameras."""
        for camera_id, token in tokens.items():
            if self._leases.get(camera_id) == LeaseRow(me, token):
                del self._leases[camera_id]

    async def bury(self, worker: WorkerId, row: WorkerRow) -> bool:
        """Take a silent worker out."""
        if self._workers.get(worker) != row:
            return False
        await self.leave(worker)
        return True

    async def leave(self, me: WorkerId) -> None:
        """Take oneself out."""
        self._workers.pop(me, None)
        for camera_id in [camera_id for camera_id, row in self._leases.items() if row.holder == me]:
            del self._leases[camera_id]


_BEAT = """
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
return {redis.call('HGETALL', KEYS[4]), redis.call('HGETALL', KEYS[3]), redis.call('GET', KEYS[2]) or '0'}
"""
_TAKE = """
local me, taken = ARGV[1], {}
if redis.call('HEXISTS', KEYS[4], me) == 0 then return taken end
local now = redis.call('TIME')
local last = math.max(tonumber(redis.call('GET', KEYS[5]) or '0'), now[1] * 1000000 + now[2])
for at = 2, #ARGV, 2 do
  local camera, floor = ARGV[at], tonumber(ARGV[at + 1])
  local token, holder = string.match(redis.call('HGET', KEYS[3], camera) or '', '^(%d+) (.+)$')
  if holder == nil or holder == me or redis.call('HEXISTS', KEYS[4], holder) == 0 then
    if holder ~= me or tonumber(token) <= floor then
      last = math.max(last, floor, tonumber(token or '0')) + 1
      token = string.format('%.0f', last)
      redis.call('SET', KEYS[5], token)
      redis.call('HSET', KEYS[3], camera, token .. ' ' .. me)
    end
    taken[#taken + 1] = camera
    taken[#taken + 1] = token
  end
end
return taken
"""
_GIVE_BACK = """
for at = 2, #ARGV, 2 do
  if redis.call('HGET', KEYS[3], ARGV[at]) == ARGV[at + 1] .. ' ' .. ARGV[1] then
    redis.call('HDEL', KEYS[3], ARGV[at])
  end
end
return 1
"""
_LEAVE = """
if ARGV[2] and redis.call('HGET', KEYS[4], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[4], ARGV[1])
local leases = redis.call('HGETALL', KEYS[3])
for at = 1, #leases, 2 do
  if string.match(leases[at + 1], '^%d+ (.+)$') == ARGV[1] then redis.call('HDEL', KEYS[3], leases[at]) end
end
return 1
"""


class RedisLeaseTable:
    """The table in Redis, beside the cameras.

    Args:
        store: the connection.
    """

    is_shared = True

    def __init__(self, store: StoreConnection) -> None:
        self._store = store

    async def beat(self, me: WorkerId, row: WorkerRow) -> TableView:
        """Show that a worker lives."""
        workers, leases, revision = await self._store.run(_BEAT, me, _worker_text(row))
        rows = {WorkerId(name): _worker_row(text) for name, text in _pairs(workers)}
        held = {CameraId(camera): _lease_row(text) for camera, text in _pairs(leases)}
        return TableView(
            {name: worker for name, worker in rows.items() if worker is not None},
            {camera: lease for camera, lease in held.items() if lease is not None},
            int(revision),
        )

    async def take(self, me: WorkerId, floors: Mapping[CameraId, int]) -> Mapping[CameraId, int]:
        """Take cameras that nobody holds."""
        if not floors:
            return {}
        taken = await self._store.run(_TAKE, me, *(part for pair in floors.items() for part in pair))
        return {CameraId(camera): int(token) for camera, token in _pairs(taken)}

    async def give_back(self, me: WorkerId, tokens: Mapping[CameraId, int]) -> None:
        """Let go of cameras."""
        if tokens:
            await self._store.run(_GIVE_BACK, me, *(part for pair in tokens.items() for part in pair))

    async def bury(self, worker: WorkerId, row: WorkerRow) -> bool:
        """Take a silent worker out."""
        return bool(await self._store.run(_LEAVE, worker, _worker_text(row)))

    async def leave(self, me: WorkerId) -> None:
        """Take oneself out."""
        await self._store.run(_LEAVE, me)


def _worker_text(row: WorkerRow) -> str:
    return json.dumps(asdict(row), sort_keys=True)


def _worker_row(text: str) -> WorkerRow | None:
    try:
        raw = json.loads(text)
        return WorkerRow(int(raw["beat"]), str(raw["address"]), int(raw["capacity"]), str(raw.get("process", "")))
    except (KeyError, TypeError, ValueError):
        log.error("leases.corrupt", row="worker")  # noqa: TRY400 - of a newer version, or no worker's: left alone
        return None


def _lease_row(text: str) -> LeaseRow | None:
    token, _, holder = text.partition(" ")
    if not token.isdigit() or not holder:
        log.error("leases.corrupt", row="lease")
        return None
    return LeaseRow(WorkerId(holder), int(token))


def _pairs(flat: list[str]) -> list[tuple[str, str]]:
    return list(zip(flat[::2], flat[1::2], strict=True))
