"""What the parts of the store in Redis share: the door, the seals, and what they know of collections and shards.

A collection's record decides whether there is a collection; what is remembered of it here is only a guess that every
script checks. Every refusal of a script becomes an error in one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord, AuditStamp
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.door import Door
from gallery_svc.store.load_processes import LoadProcesses
from gallery_svc.store.protocol import Stamps
from gallery_svc.store.redis_keys import ROOT, ShardKeys, record_key, record_tag
from gallery_svc.store.sealing import Sealer
from tessera.domain.errors import NotFoundError, OverloadedError, StoreCorruptError, UnavailableError
from tessera.domain.ids import CollectionId

MAX_CONFLICTS = 16
"""Tries of a change that others keep coming before."""

_PAUSE_S = 0.004
_CLOSED_PAUSE_S = 0.05
_LEASE_S = 10.0
_LEASE_WAIT_S = 5.0
_AT_ONCE = 16

ENDED = (None, b"0")
"""What a head's count of writes that have begun says when all of them have ended."""

HALF_AMONG_OTHERS = "half of a change is there, and whole ones after it"

Argument = bytes | str | int
"""Of a script."""

# `json.dumps` makes an encoder for each text whose separators are not its own.
_STAMP_TEXT = json.JSONEncoder(separators=(",", ":")).encode

T = TypeVar("T")
R = TypeVar("R")


class Again(Exception):  # noqa: N818 - not an error: it never leaves the store
    """Somebody came in between, and nothing was written; look again and try again."""


class Entry:
    """An audit entry on its way into a log; its stamp is told what became of it."""

    def __init__(self, stamps: Stamps, log: str, record: AuditRecord) -> None:
        self._stamps = stamps
        self._log = log
        self.entry = codec.dump(record).encode()
        self._stamp = stamps.stamp(log, self.entry)

    @property
    def args(self) -> tuple[bytes, str]:
        """As the scripts take it: entry and stamp."""
        return self.entry, stamp_text(self._stamp)

    def ended(self, *, written: bool) -> None:
        """It is on record, or it is not known to be."""
        if written:
            self._stamps.settled(self._log, self._stamp)
        else:
            self._stamps.gave_up(self._log, self._stamp)


def stamp_text(stamp: AuditStamp) -> str:
    """A stamp as JSON, its bytes as hex."""
    return _STAMP_TEXT(
        {
            "writer": stamp.writer,
            "n": stamp.n,
            "settled": stamp.settled,
            "given_up": stamp.given_up,
            "mac": stamp.mac.hex(),
        }
    )


def stamp_from(text: bytes, key: str) -> AuditStamp:
    """A stamp from `stamp_text`.

    Raises:
        StoreCorruptError: it is none.
    """
    try:
        told = json.loads(text)
        return AuditStamp(**told | {"given_up": tuple(told["given_up"]), "mac": bytes.fromhex(told["mac"])})
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorruptError(key, f"not a stamp: {type(error).__name__}") from error


class RedisParts:
    """Where a store's parts meet.

    Args:
        door: to the servers.
        sealer: seals and opens what is kept of subjects.
        stamps: makes audit entries provable.
        log_kept: changes kept for followers, of each shard; about so many.
        events_kept: event revisions kept.
        alerts_kept: alerts kept.
        load_processes: open the rows of a load beside this process; None: as many as are good for it.
    """

    def __init__(
        self,
        door: Door,
        sealer: Sealer,
        stamps: Stamps,
        *,
        log_kept: int = 100_000,
        events_kept: int = 100_000,
        alerts_kept: int = 100_000,
        load_processes: int | None = None,
    ) -> None:
        self._door = door
        self._sealer = sealer
        self._stamps = stamps
        self._log_kept = log_kept
        self._events_kept = events_kept
        self._alerts_kept = alerts_kept
        self._load_processes = LoadProcesses(load_processes)
        self._records: dict[CollectionId, tuple[bytes, CollectionRecord]] = {}
        self._kept: dict[str, tuple[int, ...]] = {}

    # ---- what is known of collections

    async def _found(self, collection_id: CollectionId) -> CollectionRecord | None:
        """A collection's record as it is now."""
        (raw,) = await self._door.read(record_tag(collection_id), [("GET", record_key(collection_id))])
        return self._noted(collection_id, raw)

    def _noted(self, collection_id: CollectionId, raw: bytes | None) -> CollectionRecord | None:
        if raw is None:
            self._records.pop(collection_id, None)
            return None
        known = self._records.get(collection_id)
        if known is None or known[0] != raw:
            known = (raw, codec.load(CollectionRecord, raw, record_key(collection_id)))
            self._records[collection_id] = known
        return known[1]

    def _text(self, record: CollectionRecord) -> bytes:
        """A record that was just looked at, as it was read."""
        return self._records[record.collection_id][0]

    async def _existing(self, collection_id: CollectionId, *, fresh: bool = False) -> CollectionRecord:
        """A collection's record; unless `fresh`, as it was when it was last looked at.

        Raises:
            NotFoundError: there is no such collection.
        """
        known = None if fresh else self._records.get(collection_id)
        record = known[1] if known else await self._found(collection_id)
        if record is None:
            raise NotFoundError("collection", collection_id)
        return record

    def _kept_epochs(self, record: CollectionRecord, keys: ShardKeys) -> tuple[int, ...]:
        """The epochs that a shard has rows of, as far as is known."""
        return self._kept.get(f"{record.generation} {keys.tag}", (record.active_epoch,))

    async def _learn_layout(self, record: CollectionRecord, keys: ShardKeys, reply: Sequence[Any]) -> None:
        """Note what a shard said of its epochs; where its active one is not the record's, have it follow the record."""
        if int(reply[1]) != record.active_epoch:
            record = await self._existing(record.collection_id, fresh=True)
            reply = await self._door.write("layout", [keys.head], layout_args(record))
            if reply[0] != b"ok":
                raise await self._refusal(reply, record, keys)
        self._kept[f"{record.generation} {keys.tag}"] = tuple(int(each) for each in reply[2].split(b","))

    # ---- trying again

    async def _until_done(self, attempt: Callable[[], Awaitable[T]], queue: str = "subject") -> T:
        """Try until nobody comes in between.

        Raises:
            OverloadedError: others kept coming.
        """
        for number in range(MAX_CONFLICTS):
            try:
                return await attempt()
            except Again:
                pause_s = _PAUSE_S * number * random.uniform(0.5, 1.5)  # noqa: S311 - only so that two part
                await asyncio.sleep(pause_s)
        raise OverloadedError(queue, MAX_CONFLICTS)

    @asynccontextmanager
    async def _leased(self, name: str) -> AsyncIterator[None]:
        """Do what only one may do at a time."""
        holder, args = f"{ROOT}lease:{name}", (secrets.token_hex(8), round(_LEASE_S * 1000))
        try:
            async with asyncio.timeout(_LEASE_WAIT_S):
                while not await self._door.run("lease", [holder], args):  # noqa: ASYNC110 - another process has it
                    await asyncio.sleep(_CLOSED_PAUSE_S)
        except TimeoutError:
            raise OverloadedError(name, 1) from None
        try:
            yield
        finally:
            with contextlib.suppress(UnavailableError):  # it ends by itself
                await self._door.run("lease", [holder], (args[0], 0))

    # ---- refusals

    async def _refusal(  # noqa: PLR0911 - one for each refusal
        self, reply: Sequence[Any], record: CollectionRecord, keys: ShardKeys
    ) -> Exception:
        """What is to be raised when a script refuses.

        Returns:
            Again: what was known of the collection was old, or somebody thinks of deleting it. StoreCorruptError: the
            shard holds half of a write, or what no version of Tessera wrote.

        Raises:
            NotFoundError: the collection is not there (any more).
        """
        match reply[0]:
            case b"layout":
                await self._learn_layout(record, keys, reply)
                return Again()
            case b"closed":
                await asyncio.sleep(_CLOSED_PAUSE_S)
                await self._existing(record.collection_id, fresh=True)
                return Again()
            case b"absent":
                if await self._existing(record.collection_id, fresh=True) == record:
                    return StoreCorruptError(keys.head, mend("the collection is there, and this shard of it is not"))
                return Again()
            case b"pending":
                return half_written(keys, reply[1])
            case b"corrupt":
                return StoreCorruptError(reply[1].decode(), mend("its entries and its count disagree"))
            case unknown:
                return StoreCorruptError(keys.head, f"a script answered {unknown!r}")


def layout_args(record: CollectionRecord) -> list[str | int]:
    """What a shard follows of its collection's record."""
    epochs = {record.active_epoch, *(each.epoch for each in record.epochs)}
    return [record.generation, record.revision, record.active_epoch, ",".join(map(str, sorted(epochs)))]


def require_whole(keys: ShardKeys, pending: bytes | None, begun: bytes | None) -> None:
    """Refuse a shard whose head says that a write did not end.

    Raises:
        StoreCorruptError: it does.
    """
    if pending is not None or begun not in ENDED:
        raise half_written(keys, pending or b"")


def half_written(keys: ShardKeys, pending: bytes) -> StoreCorruptError:
    """A shard's head carries the mark of a write that did not end; empty: whole ones came after it."""
    sequence, _, subject = pending.decode(errors="replace").partition(" ")
    half = f"half of change {sequence} of subject {subject} is there" if pending else HALF_AMONG_OTHERS
    return StoreCorruptError(keys.head, mend(f"collection {keys.collection_id}, shard {keys.shard}: {half}"))


def mend(what: str) -> str:
    """What is wrong, and what to do about it."""
    return f"{what}; look with `tessera store check`, mend with `tessera store repair`"


async def all_of(do: Callable[[T], Awaitable[R]], items: Iterable[T]) -> list[R]:
    """Do the same for many, some at once; the results in order. The first error is raised when all are through."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(item: T) -> R:
        async with room:
            return await do(item)

    results = await asyncio.gather(*map(one, items), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
