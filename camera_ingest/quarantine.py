"""Pictures that nobody looks at any more: each was with the encoder alone when that crashed, twice without an answer.

The first crash makes suspects of all pictures that were with the encoder. A suspect is tried once more while no other
suspect is: an answer clears it, a second crash proves it. What is proved is kept by its hash, for a day, in the store,
so that neither a restart nor another worker tries it again; a picture's content is kept nowhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import NewType, Protocol

from camera_ingest.metrics import IngestMetrics
from camera_ingest.store import StoreConnection
from tessera.chassis.logs import get_logger
from tessera.domain.errors import UnavailableError
from tessera.domain.ids import CameraId

log = get_logger()

Digest = NewType("Digest", str)

MAX_KEPT = 1000
"""Of all cameras; the oldest go first."""
KEPT_S = 24 * 3600
"""An encoder that was mended in between looks at it anew."""
_MAX_SUSPECTS = 1000


def digest_of(picture: bytes) -> Digest:
    """What a picture file is known by."""
    return Digest(hashlib.blake2b(picture, digest_size=16).hexdigest())


class QuarantineShelf(Protocol):
    """Where proved pictures are kept. Each method raises `UnavailableError` when the store is away."""

    async def put(self, proved: Mapping[Digest, CameraId]) -> None:
        """Keep these, beside those that are kept."""
        ...

    async def load(self) -> Mapping[Digest, CameraId]:
        """Those that are kept, by whomever."""
        ...

    async def forget(self, camera_id: CameraId) -> None:
        """Keep none of a camera."""
        ...


class MemoryShelf:
    """Kept for as long as the process lives."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Digest, CameraId] = OrderedDict()

    async def put(self, proved: Mapping[Digest, CameraId]) -> None:
        """Keep these."""
        self._kept.update(proved)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    async def load(self) -> Mapping[Digest, CameraId]:
        """Those that are kept."""
        return dict(self._kept)

    async def forget(self, camera_id: CameraId) -> None:
        """Keep none of a camera."""
        for digest in [digest for digest, of in self._kept.items() if of == camera_id]:
            del self._kept[digest]


_PUT = """
local now = redis.call('TIME')[1]
for at = 2, #ARGV do redis.call('ZADD', KEYS[6], now, ARGV[at]) end
redis.call('ZREMRANGEBYRANK', KEYS[6], 0, -1 - ARGV[1])
redis.call('INCR', KEYS[2])
return 1
"""
_LOAD = """
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', redis.call('TIME')[1] - ARGV[1])
return redis.call('ZRANGE', KEYS[6], 0, -1)
"""
_FORGET = """
for _, member in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
  if string.match(member, '^%x+ (.+)$') == ARGV[1] then redis.call('ZREM', KEYS[6], member) end
end
return 1
"""


class RedisShelf:
    """Kept in Redis, beside the cameras.

    Args:
        store: the connection.
    """

    def __init__(self, store: StoreConnection) -> None:
        self._store = store

    async def put(self, proved: Mapping[Digest, CameraId]) -> None:
        """Keep these; other workers are told by the cameras' revision."""
        members = (f"{digest} {camera_id}" for digest, camera_id in proved.items())
        await self._store.run(_PUT, MAX_KEPT, *members)

    async def load(self) -> Mapping[Digest, CameraId]:
        """Those that are kept."""
        members = (str(member).partition(" ") for member in await self._store.run(_LOAD, KEPT_S))
        return {Digest(digest): CameraId(camera_id) for digest, _, camera_id in members}

    async def forget(self, camera_id: CameraId) -> None:
        """Keep none of a camera."""
        await self._store.run(_FORGET, camera_id)


class Quarantine:
    """What this process knows of poison. Used from one event loop.

    Args:
        shelf: where it is kept.
        metrics: where it counts.
    """

    def __init__(self, shelf: QuarantineShelf, metrics: IngestMetrics) -> None:
        self.trying = asyncio.Lock()
        """Held while a suspect is with the encoder: a crash then has one suspect."""
        self._shelf = shelf
        self._metrics = metrics
        self._proved: dict[Digest, CameraId] = {}
        self._unsaved: dict[Digest, CameraId] = {}
        self._suspects: OrderedDict[Digest, None] = OrderedDict()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compare a picture with."""
        return not self._proved and not self._suspects

    def holds(self, digest: Digest) -> bool:
        """Whether a picture is held back."""
        return digest in self._proved

    def suspects(self, digest: Digest) -> bool:
        """Whether a picture was with the encoder when it crashed, and has had no answer since."""
        return digest in self._suspects

    def count(self, camera_id: CameraId) -> int:
        """Pictures of a camera that are held back."""
        return sum(of == camera_id for of in self._proved.values())

    def cleared(self, digest: Digest) -> None:
        """A picture was answered."""
        self._suspects.pop(digest, None)

    def crashed(self, camera_id: CameraId, digests: Iterable[Digest]) -> None:
        """The encoder broke off while it had these pictures."""
        for digest in digests:
            if digest not in self._suspects:
                self._suspects[digest] = None
                continue
            del self._suspects[digest]
            self._proved[digest] = self._unsaved[digest] = camera_id
            self._metrics.quarantined.labels(camera_id).inc()
            log.error("frame.quarantined", camera=camera_id, digest=digest)
        while len(self._suspects) > _MAX_SUSPECTS:
            self._suspects.popitem(last=False)

    async def settle(self) -> None:
        """Keep what was proved, and learn what others have proved; without the store, later.

        Raises:
            UnavailableError: the store is away; nothing is forgotten.
        """
        unsaved = dict(self._unsaved)
        if unsaved:
            await self._shelf.put(unsaved)
        self._proved = {**await self._shelf.load(), **self._unsaved}
        for digest in unsaved:
            self._unsaved.pop(digest, None)

    async def save(self) -> None:
        """Keep what was proved since; without the store, at a later call."""
        if self._unsaved:
            try:
                await self.settle()
            except UnavailableError as error:
                log.warning("quarantine.not_saved", error=str(error), pictures=len(self._unsaved))

    async def forget(self, camera_id: CameraId) -> None:
        """A camera was removed.

        Raises:
            UnavailableError: the store is away.
        """
        self._unsaved = {digest: of for digest, of in self._unsaved.items() if of != camera_id}
        self._proved = {digest: of for digest, of in self._proved.items() if of != camera_id}
        await self._shelf.forget(camera_id)
