"""A store in Redis for tests that look at its keys, and a door that breaks where it is told to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from gallery_svc.store.audit_records import AuditStamp
from gallery_svc.store.door import Command, Door, NodeInfo
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.lua import Script, load_scripts
from gallery_svc.store.memory_side import Unstamped
from gallery_svc.store.protocol import Stamps
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.sealing import Sealer
from tessera.domain.errors import UnavailableError

TIMEOUT_S = 10.0
"""Longer than a gallery waits for its store: a busy machine is no fault."""
KEYRING = Keyring.load("ephemeral")


def store_at(
    address: str,
    *,
    keyring: Keyring = KEYRING,
    stamps: Stamps | None = None,
    durability: Durability | None = None,
    through: Callable[[Door], Door] = lambda door: door,
    log_kept: int = 100_000,
) -> RedisStore:
    """A store of this test run's keys.

    Args:
        address: of its servers.
        keyring: other keys than those of the run.
        stamps: None: such that prove nothing.
        durability: None: of one server that writes its file each second.
        through: puts something before the door.
        log_kept: changes kept of each shard.
    """
    door = open_door(address, durability or Durability("everysec"), timeout_s=TIMEOUT_S, scripts=_scripts())
    return RedisStore(through(door), Sealer(keyring), stamps or Unstamped(), log_kept=log_kept)


@functools.cache
def _scripts() -> Mapping[str, Script]:
    """Read once: some tests open thousands of stores."""
    return load_scripts()


@dataclass
class BreakingDoor:
    """A door that goes away before the nth call of a script."""

    door: Door
    script: str
    at: int = 1
    calls: dict[str, int] = field(default_factory=dict)

    async def read(self, tag: str, commands: Sequence[Command], *, blocking_s: float = 0.0) -> list[Any]:
        """As the door."""
        return await self.door.read(tag, commands, blocking_s=blocking_s)

    async def read_raw(self, tag: str, command: Command) -> list[bytes]:
        """As the door."""
        return await self.door.read_raw(tag, command)

    async def run(self, script: str, keys: Sequence[str], args: Sequence[bytes | str | int]) -> Any:
        """As the door."""
        return await self.door.run(script, keys, args)

    async def write(
        self,
        script: str,
        keys: Sequence[str],
        args: Sequence[bytes | str | int],
        request_id: str = "",
        *,
        wrote: Callable[[Any], bool] | None = None,
    ) -> Any:
        """As the door, up to the call that breaks and from then on not at all."""
        self.calls[script] = self.calls.get(script, 0) + 1
        if self.calls.get(self.script, 0) >= self.at:
            raise UnavailableError("store", "the test broke it")
        return await self.door.write(script, keys, args, request_id, wrote=wrote)

    async def nodes(self) -> list[NodeInfo]:
        """As the door."""
        return await self.door.nodes()

    async def rewrite_files(self, limit_s: float = 60.0) -> None:
        """As the door."""
        await self.door.rewrite_files(limit_s)

    async def prepare(self) -> None:
        """As the door."""
        await self.door.prepare()

    async def close(self) -> None:
        """As the door."""
        await self.door.close()


@dataclass
class NotedStamps:
    """Stamps that remember what they were told of."""

    given: list[tuple[str, int]] = field(default_factory=list)
    written: list[tuple[str, int]] = field(default_factory=list)
    lost: list[tuple[str, int]] = field(default_factory=list)

    def stamp(self, log: str, entry: bytes) -> AuditStamp:
        """The next one."""
        stamp = Unstamped({log: len(self.given)}).stamp(log, entry)
        self.given.append((log, stamp.n))
        return stamp

    def settled(self, log: str, stamp: AuditStamp) -> None:
        """It is written."""
        self.written.append((log, stamp.n))

    def gave_up(self, log: str, stamp: AuditStamp) -> None:
        """It is not, or nobody knows."""
        self.lost.append((log, stamp.n))


async def everything_in(client: Redis) -> dict[str, bytes]:
    """Every key of a server with its content: DUMP may compress what it gives, so each is read as what it is."""
    readers: dict[bytes, Callable[[Any], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"stream": client.xrange,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
    }
    found = {}
    async for key in client.scan_iter():
        content = await readers[await client.type(key)](key)
        found[key.decode()] = b"\n".join(_flat(content))
    return found


def _flat(content: Any) -> list[bytes]:
    if isinstance(content, bytes):
        return [content]
    if isinstance(content, dict):
        return [part for pair in content.items() for item in pair for part in _flat(item)]
    return [part for item in content for part in _flat(item)]
